# Writes OUT (moe_version.h) with the version and the commit; only when they changed.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=10 --exclude=*
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT
     "#define MAKEMOE_VERSION \"${VERSION}\"\n#define MAKEMOE_COMMIT \"${commit}\"\n")
