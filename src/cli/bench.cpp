#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/timing/timing.h"

namespace moe::cli {

namespace {

constexpr std::int64_t kMostSteps = 100'000;

struct BenchArgs {
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t steps = 30;
  bool json = false, compare = false;
};

Json rates_to_json(const GenerationRates& rates) {
  Json json = Json::object();
  if (rates.within_context) json["within_context"] = *rates.within_context;
  json["beyond_context"] = rates.beyond_context;
  return json;
}

Json comparison_to_json(const TimingComparison& comparison) {
  Json json = Json::object();
  for (const auto& [threads, step] : comparison.steps_by_threads)
    json[cat("train_ms_per_step_threads_", threads)] = 1e3 * step;
  json["reference_train_ms_per_step"] = 1e3 * comparison.reference_step;
  json["reference_eval_tokens_per_second"] = comparison.reference_evaluation;
  return json;
}

Json machine_to_json(const MachineUse& use) {
  const auto& expected = use.prediction;
  Json json{{"product_gflops", 1e-9 * use.machine.product},
            {"memory_gb_per_second", 1e-9 * use.machine.memory},
            {"train_gflops", 1e-9 * use.step_flops},
            {"floor_ms", {{"products", 1e3 * use.products}, {"update", 1e3 * use.update}}},
            {"step_over_floor", use.over_floor},
            {"predicted_ms",
             {{"products", 1e3 * expected.products},
              {"newton_schulz", 1e3 * expected.newton_schulz},
              {"arrays", 1e3 * expected.arrays},
              {"update", 1e3 * expected.update}}}};
  if (const auto& alone = use.newton_schulz)
    json["newton_schulz"] = {{"gflop_per_step", 1e-9 * alone->flops},
                             {"gflops", 1e-9 * alone->rate},
                             {"ms_per_step", 1e3 * alone->seconds()}};
  if (!use.product_instructions.empty()) json["product_instructions"] = use.product_instructions;
  return json;
}

Json parts_to_json(const StepSeconds& parts) {
  return {{"data", 1e3 * parts.data},
          {"forward", 1e3 * parts.forward},
          {"backward", 1e3 * parts.backward},
          {"update", 1e3 * parts.update}};
}

Json timings_to_json(const Timings& timings, at::Device device) {
  const auto& [step, parts] = timings.step;
  Json json = {{"train_ms_per_step", 1e3 * step},
               {"train_tokens_per_second", timings.train_rate},
               {"train_parts_ms", parts ? parts_to_json(*parts) : Json(nullptr)},
               {"eval_tokens_per_second", timings.evaluation_rate},
               {"generate_tokens_per_second", timings.generation_rate},
               {"generate_1_tokens_per_second", rates_to_json(timings.of_one)},
               {"generate_32_tokens_per_second", rates_to_json(timings.of_32)},
               {"threads", timings.threads},
               {"device", device.str()},
               {"peak_memory_bytes", timings.peak_memory}};
  if (timings.comparison) json["compare"] = comparison_to_json(*timings.comparison);
  json["machine"] = machine_to_json(timings.machine);
  return json;
}

int run_bench(const BenchArgs& args, const Services& services) {
  std::optional<fs::path> file;
  if (!args.config.empty()) file = args.config;
  TimingRequest request{load_config(file, args.overrides), at::kCPU, args.steps, args.compare};
  request.device = prepare_device(request.config, services.log);
  const auto timings = measure_timings(request, services.interrupt, services.log);
  const auto result = timings_to_json(timings, request.device);
  if (args.json) {
    print_json(result);
    return 0;
  }
  constexpr std::size_t kColumn = 50;
  const auto rows = result.flatten();
  for (const auto& [path, value] : rows.items()) {
    const auto key = path.substr(1);  // after the pointer's "/"
    print(cat(key, std::string(kColumn - key.size(), ' '),
              value.is_string()         ? value.get<std::string>()
              : value.is_number_float() ? fixed(value.get<double>(), 1)
                                        : json_text(value),
              "\n"));
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  auto* command =
      app.add_subcommand("bench", "Time training, evaluation and generation on this machine");
  const auto args = std::make_shared<BenchArgs>();
  add_name(*command, "--config", args->config, "JSON config; default: the built-in one");
  add_overrides(*command, args->overrides,
                "set a key of the config, e.g. threads=1; may be repeated");
  add_whole(*command, "--steps", args->steps, "training steps to time; default: 30",
            std::int64_t{1}, kMostSteps);
  command->add_flag("--compare", args->compare,
                    "also time fewer threads and the reference kernels (takes longer)");
  command->add_flag("--json", args->json, "print one JSON object instead of text");
  command->footer("Example:\n  makemoe bench --config configs/makemoe.json --set threads=1 --json");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_bench(*args, services); };
  });
}

}  // namespace moe::cli
