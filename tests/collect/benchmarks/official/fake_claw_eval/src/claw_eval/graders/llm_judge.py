"""Stand-in of the judge of Claw-Eval: 31 attempts with waits, and None after the last."""

import json
import time
from types import SimpleNamespace


class LLMJudge:
    def __init__(self, model_id, api_key, base_url):
        self.model_id, self.client = model_id, None

    def evaluate(self, rubric):
        for _ in range(31):
            try:
                reply = self.client.chat.completions.create(
                    model=self.model_id,
                    messages=[{"role": "user", "content": rubric}],
                    temperature=0.0,
                    max_tokens=8192,
                )
                return SimpleNamespace(score=json.loads(reply.choices[0].message.content)["score"])
            except Exception:
                time.sleep(8)

    evaluate_actions = evaluate_visual = evaluate
