#include "tracking/events.h"

#include <array>
#include <protozero/pbf_writer.hpp>
#include <string_view>
#include <vector>

namespace moe::tracking {

namespace {

using protozero::pbf_writer;

constexpr std::string_view kHparams = "hparams";

std::string event_at(double time, std::int64_t step) {
  std::string bytes;
  pbf_writer event(bytes);
  event.add_double(1, time);
  event.add_int64(2, step);
  return bytes;
}

/// An event with one message under `field`.
std::string with_message(std::string event, protozero::pbf_tag_type field,
                         const std::string& message) {
  pbf_writer(event).add_message(field, message);
  return event;
}

std::string scalar(const std::string& tag, double value) {
  std::string bytes;
  pbf_writer writer(bytes);
  writer.add_string(1, tag);
  writer.add_float(2, static_cast<float>(value));
  return bytes;
}

std::string histogram(const MetricVector& vector) {
  const auto count = vector.values.size();
  std::vector<double> limits(count);
  double weight = 0, sum = 0, squares = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = static_cast<double>(i);
    limits[i] = at + 0.5;
    weight += vector.values[i];
    sum += at * vector.values[i];
    squares += at * at * vector.values[i];
  }
  std::string bytes;
  pbf_writer writer(bytes);
  writer.add_double(1, -0.5);
  writer.add_double(2, static_cast<double>(count) - 0.5);
  writer.add_double(3, weight);
  writer.add_double(4, sum);
  writer.add_double(5, squares);
  writer.add_packed_double(6, limits.begin(), limits.end());
  writer.add_packed_double(7, vector.values.begin(), vector.values.end());
  return bytes;
}

std::string histogram_value(const MetricVector& vector) {
  std::string bytes;
  pbf_writer writer(bytes);
  writer.add_string(1, vector.name);
  writer.add_message(5, histogram(vector));
  return bytes;
}

/// A tensor of one zero: readers pass over a value that holds nothing.
std::string placeholder_tensor() {
  constexpr std::array<float, 1> kZero{0};
  constexpr int kFloat = 1;
  std::string dimension, shape, bytes;
  pbf_writer(dimension).add_int64(1, 1);
  pbf_writer(shape).add_message(2, dimension);
  pbf_writer writer(bytes);
  writer.add_enum(1, kFloat);
  writer.add_message(2, shape);
  writer.add_packed_float(5, kZero.begin(), kZero.end());
  return bytes;
}

/// An event whose one value is for the hparams plugin: `content` under `field` of its message.
std::string plugin_event(double time, const std::string& tag, protozero::pbf_tag_type field,
                         const std::string& content) {
  constexpr int kTensorData = 2;
  std::string plugin_data, data, metadata, value, summary;
  pbf_writer(plugin_data).add_message(field, content);
  pbf_writer data_writer(data);
  data_writer.add_string(1, kHparams.data(), kHparams.size());
  data_writer.add_bytes(2, plugin_data);
  pbf_writer metadata_writer(metadata);
  metadata_writer.add_message(1, data);
  metadata_writer.add_enum(4, kTensorData);
  pbf_writer writer(value);
  writer.add_string(1, tag);
  writer.add_message(8, placeholder_tensor());
  writer.add_message(9, metadata);
  pbf_writer(summary).add_message(1, value);
  return with_message(event_at(time, 0), 5, summary);
}

enum class HparamType { string = 1, boolean = 2, number = 3 };

HparamType type_of(const Json& value) {
  if (value.is_boolean()) return HparamType::boolean;
  return value.is_number() ? HparamType::number : HparamType::string;
}

std::string hparam_info(const std::string& key, const Json& value) {
  std::string bytes;
  pbf_writer writer(bytes);
  writer.add_string(1, key);
  writer.add_enum(4, static_cast<int>(type_of(value)));
  return bytes;
}

std::string metric_info(const std::string& tag) {
  std::string name, bytes;
  pbf_writer(name).add_string(2, tag);
  pbf_writer(bytes).add_message(1, name);
  return bytes;
}

/// google.protobuf.Value.
std::string protobuf_value(const Json& value) {
  std::string bytes;
  pbf_writer writer(bytes);
  if (value.is_boolean())
    writer.add_bool(4, value.get<bool>());
  else if (value.is_number())
    writer.add_double(2, value.get<double>());
  else
    writer.add_string(3, plain_text(value));
  return bytes;
}

}  // namespace

std::string version_event(double time) {
  std::string bytes;
  pbf_writer event(bytes);
  event.add_double(1, time);
  event.add_string(3, "brain.Event:2");
  return bytes;
}

std::string restart_event(double time, std::int64_t step) {
  constexpr int kStart = 1;
  std::string session;
  pbf_writer(session).add_enum(1, kStart);
  return with_message(event_at(time, step), 7, session);
}

std::string row_event(double time, const MetricRow& row) {
  std::string summary;
  pbf_writer writer(summary);
  for (const auto& [name, value] : row.values) writer.add_message(1, scalar(name, value));
  for (const auto& vector : row.vectors) writer.add_message(1, histogram_value(vector));
  return with_message(event_at(time, row.step), 5, summary);
}

std::string hparams_event(double time, const FlatConfig& config) {
  std::string experiment;
  pbf_writer writer(experiment);
  writer.add_double(3, time);
  for (const auto& [key, value] : config)
    if (!value.is_null()) writer.add_message(4, hparam_info(key, value));
  for (const auto* tag : {"val/loss", "train/loss"}) writer.add_message(5, metric_info(tag));
  return plugin_event(time, "_hparams_/experiment", 2, experiment);
}

std::string session_start_event(double time, const FlatConfig& config) {
  std::string start;
  pbf_writer writer(start);
  for (const auto& [key, value] : config) {
    if (value.is_null()) continue;  // no value is said by leaving it out
    std::string entry;
    pbf_writer entry_writer(entry);
    entry_writer.add_string(1, key);
    entry_writer.add_message(2, protobuf_value(value));
    writer.add_message(1, entry);
  }
  writer.add_double(5, time);
  return plugin_event(time, "_hparams_/session_start_info", 3, start);
}

std::string session_end_event(double time, bool succeeded) {
  constexpr int kSuccess = 1, kFailure = 2;
  std::string end;
  pbf_writer writer(end);
  writer.add_enum(1, succeeded ? kSuccess : kFailure);
  writer.add_double(2, time);
  return plugin_event(time, "_hparams_/session_end_info", 4, end);
}

}  // namespace moe::tracking
