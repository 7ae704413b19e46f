import json
from pathlib import Path


class OpenAICompletionsHandler:
    def __init__(self, model_name, temperature):
        self.model_name, self.temperature = model_name, temperature
        self.options = self._build_client_kwargs()

    def ask(self, messages):
        body = {"model": self.model_name, "messages": messages, "temperature": self.temperature, "store": False}
        answer = self.options["http_client"].post("http://proxy/v1/chat/completions", json=body)
        if answer.status_code != 200:
            raise RuntimeError(f"Error code: {answer.status_code} - {answer.json()}")
        return answer.json()

    def write(self, row, result_dir, update_mode=False):
        assert not update_mode, "rewriting a file for each row can lose rows"
        category = row["id"].rsplit("_", 1)[0]
        path = Path(result_dir) / "replication" / "group" / f"BFCL_v4_{category}_result.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
