# Writes OUT, a source of NAMESPACE::FUNCTION() with each file of PATTERN as a TYPE {name, text}.
file(GLOB texts ${PATTERN})
set(rows "")
foreach(path ${texts})
  get_filename_component(name ${path} NAME)
  file(READ ${path} text)
  string(APPEND rows "    {\"${name}\", R\"moe_text(${text})moe_text\"},\n")
endforeach()
file(
  WRITE ${OUT}
  "#include \"${HEADER}\"

namespace ${NAMESPACE} {

namespace {

constexpr ${TYPE} kTexts[] = {
${rows}};

}  // namespace

std::span<const ${TYPE}> ${FUNCTION}() { return kTexts; }

}  // namespace ${NAMESPACE}
")
