# Writes OUT, a source of moe::folder_texts() with each .py of FOLDER as a string.
file(GLOB texts ${FOLDER}/*.py)
set(rows "")
foreach(path ${texts})
  get_filename_component(name ${path} NAME)
  file(READ ${path} text)
  string(APPEND rows "    {\"${name}\", R\"moe_text(${text})moe_text\"},\n")
endforeach()
file(
  WRITE ${OUT}
  "#include \"exchange/folder_texts.h\"

namespace moe {

namespace {

constexpr FolderText kFolderTexts[] = {
${rows}};

}  // namespace

std::span<const FolderText> folder_texts() { return kFolderTexts; }

}  // namespace moe
")
