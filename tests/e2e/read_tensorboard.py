"""What TensorBoard shows of run folders, as a JSON list. Run by the Python of TensorBoard's environment."""

import json
import sys

from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.util import tensor_util

EVERYTHING = {kind: 0 for kind in ("scalars", "histograms", "tensors")}  # 0: no sampling


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
    """What the pages of histograms and hparams get from the server."""
    events = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"tensors": 0}).AddRun(folder, ".")
    events.Reload()
    provider = data_provider.MultiplexerDataProvider(events, folder)
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = ({}, "", context.hparams_metadata({}, ""))
    experiment = get_experiment.Handler({}, context, "").run()
    sessions = [session for group in list_session_groups.Handler({}, context, "", api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING],
        slice_size=10)).run().session_groups for session in [group]]
    return request, experiment, sessions


if __name__ == "__main__":
    print(json.dumps([curves(folder) for folder in sys.argv[1:]]))
