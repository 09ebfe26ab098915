# Writes OUT, a source of moe::kernels::cuda_texts() with each .cuh of FOLDER as a string.
file(GLOB texts ${FOLDER}/*.cuh)
set(rows "")
foreach(path ${texts})
  get_filename_component(name ${path} NAME)
  file(READ ${path} text)
  string(APPEND rows "    {\"${name}\", R\"moe_text(${text})moe_text\"},\n")
endforeach()
file(
  WRITE ${OUT}
  "#include \"kernels/cuda/texts.h\"

namespace moe::kernels {

namespace {

constexpr CudaText kTexts[] = {
${rows}};

}  // namespace

std::span<const CudaText> cuda_texts() { return kTexts; }

}  // namespace moe::kernels
")
