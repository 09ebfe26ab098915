"""What TensorBoard shows of run folders, as a JSON list. Run by the Python of TensorBoard's environment."""

import json
import sys

from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

EVERYTHING = {kind: 0 for kind in ("scalars", "histograms", "tensors")}  # 0: no sampling
EVERY_STATUS = (api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING)


def value_of(value):
    return getattr(value, value.WhichOneof("kind"))


def curves(folder):
    """The event file's own numbers."""
    events = event_accumulator.EventAccumulator(folder, EVERYTHING)
    events.Reload()
    tags = events.Tags()
    return {"scalars": {tag: [[e.step, e.wall_time, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
            "histograms": {tag: [[e.step, list(e.histogram_value.bucket_limit), list(e.histogram_value.bucket)]
                                 for e in events.Histograms(tag)] for tag in tags["histograms"]}}


def pages(folder):
    """What the pages of histograms and hparams get from TensorBoard's server."""
    events = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"tensors": 0}).AddRun(folder, "run")
    events.Reload()
    provider = data_provider.MultiplexerDataProvider(events, folder)
    hparams = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    asks = (RequestContext(), hparams, "")
    experiment = get_experiment.Handler(*asks, api_pb2.GetExperimentRequest()).run()
    groups = list_session_groups.Handler(*asks, api_pb2.ListSessionGroupsRequest(allowed_statuses=EVERY_STATUS,
                                                                                slice_size=10)).run().session_groups
    buckets = provider.read_tensors(RequestContext(), experiment_id="", plugin_name="histograms", downsample=1 << 30)
    return {"buckets": {tag: [[point.step, point.numpy.tolist()] for point in points]
                        for tag, points in buckets.get("run", {}).items()},
            "compared": [info.name for info in experiment.hparam_infos],
            "metrics": [info.name.tag for info in experiment.metric_infos],
            "sessions": [{"hparams": {key: value_of(value) for key, value in group.hparams.items()},
                          "metrics": {value.name.tag: [value.training_step, value.value] for value in group.metric_values},
                          "status": [api_pb2.Status.Name(session.status) for session in group.sessions]} for group in groups]}


if __name__ == "__main__":
    print(json.dumps([{**curves(folder), **pages(folder)} for folder in sys.argv[1:]]))
