"""As much of an MLflow server as makemoe asks for, with the weather of a real network: refused logins, 500s, slow,
lost and senseless answers, and a server that dies and comes back on its port."""

import base64
import http.server
import json
import re
import ssl
import threading
import time
import urllib.parse

API = "/api/2.0/mlflow/"


class Run:
    def __init__(self, request):
        self.name = request["run_name"]
        self.status, self.end_time = "RUNNING", None
        self.start_time = request["start_time"]
        self.tags = {tag["key"]: tag["value"] for tag in request["tags"]}
        self.params, self.artifacts = {}, {}
        self.metrics = []  # (key, timestamp, step, value), as the SQL store keeps them: each once
        self.received = 0  # with those that came again


class FakeMlflow:
    """`weather(handler)` is called for each request before it is done; it may answer (and return True) instead.
    `after(handler)` is called when it is done; True there loses the answer."""

    def __init__(self, tls=None):
        self.tls = tls  # files of a certificate and its key
        self.runs, self.experiments, self.requests = {}, {}, []
        self.weather = self.after = lambda handler: False
        self.lock = threading.Lock()
        self.port = 0
        self.server = None
        self.start()

    def start(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self):
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.requests.append((self.command, self.path))
                if fake.weather(self):
                    return
                with fake.lock:
                    status, answer = fake.answer(self)
                if fake.after(self):
                    self.drop()
                else:
                    self.reply(status, json.dumps(answer).encode())

            do_GET = do_POST = do_PUT = handle_request

            def reply(self, status, body, content_type="application/json"):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return True

            def drop(self):
                self.close_connection = True
                self.connection.close()
                return True

            def login(self):
                kind, _, value = self.headers.get("Authorization", "").partition(" ")
                return base64.b64decode(value).decode() if kind == "Basic" else value

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_):  # connections that are dropped, by the tests or by makemoe
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def uri(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def refused(self, code):
        return 400, {"error_code": code, "message": "the fake says so"}

    def answer(self, handler):
        path, _, query = handler.path.partition("?")
        upload = re.fullmatch(r"/api/2.0/mlflow-artifacts/artifacts/0/(\w+)/artifacts/(.+)", path)
        if upload:
            self.runs[upload[1]].artifacts[urllib.parse.unquote(upload[2])] = handler.body
            return 200, {}
        body = json.loads(handler.body or "{}", parse_constant=lambda name: 1 / 0)
        if path == API + "experiments/get-by-name":
            name = urllib.parse.parse_qs(query)["experiment_name"][0]
            if name not in self.experiments:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": name}
            return 200, {"experiment": {"experiment_id": self.experiments[name]}}
        if path == API + "experiments/create":
            self.experiments[body["name"]] = "0"
            return 200, {"experiment_id": "0"}
        if path == API + "runs/search":
            key, value = re.fullmatch(r"tags\.`(.+)` = '(.+)'", body["filter"]).groups()
            found = [self.info(run_id) for run_id, run in self.runs.items() if run.tags.get(key) == value]
            return 200, {"runs": found}
        if path == API + "runs/create":
            run_id = f"run{len(self.runs)}"
            self.runs[run_id] = Run(body)
            return 200, {"run": self.info(run_id)}
        run = self.runs[body["run_id"]]
        if path == API + "runs/update":
            run.status, run.end_time = body["status"], body.get("end_time")
            return 200, {}
        if path == API + "runs/log-batch":
            return self.log_batch(run, body)
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}

    def info(self, run_id):
        params = [{"key": key, "value": value} for key, value in self.runs[run_id].params.items()]
        return {"info": {"run_id": run_id, "artifact_uri": f"mlflow-artifacts:/0/{run_id}/artifacts"},
                "data": {"params": params}}

    def log_batch(self, run, body):
        if len(body.get("metrics", ())) > 1000 or len(body.get("params", ())) > 100:
            return self.refused("INVALID_PARAMETER_VALUE")
        for metric in body.get("metrics", ()):
            entry = (metric["key"], metric["timestamp"], metric["step"], metric["value"])
            run.received += 1
            if entry not in run.metrics:
                run.metrics.append(entry)
        params = {param["key"]: param["value"] for param in body.get("params", ())}
        for key, value in params.items():
            if not isinstance(value, str):
                return self.refused("INVALID_PARAMETER_VALUE")
            if run.params.get(key, value) != value:  # and none of the batch is kept
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message":
                             f"Changing param values is not allowed. Param with key='{key}' was already logged"}
        run.params.update(params)
        run.tags.update({tag["key"]: tag["value"] for tag in body.get("tags", ())})
        return 200, {}


# Weather.

def refuse_login(handler):
    return handler.reply(401, b"who are you?", "text/plain")


def error_500(handler):
    return handler.reply(500, b"<html>oops</html>", "text/html")


def login_page(handler):
    return handler.reply(200, b"<html>please log in</html>", "text/html")


def reset(handler):
    return handler.drop()


def hang(handler):
    time.sleep(60)
    return handler.drop()


def endless(handler):
    """More bytes than any memory has."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * (1 << 16))
    except OSError:
        return True
