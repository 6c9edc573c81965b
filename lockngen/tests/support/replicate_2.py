"""A program that uses version 2 of Replicate's Python client, and prints what it gets."""

import asyncio
import base64
import json
import sys
from datetime import timedelta

import replicate

token, limited = sys.argv[1:]
client = replicate.Replicate(bearer_token=token)
model, input = "lockngen/sketch", {"prompt": "a lighthouse", "width": 64, "height": 64}
version = client.models.get(model_owner="lockngen", model_name="sketch").latest_version.id


async def run():
    (output,) = await replicate.AsyncReplicate(bearer_token=token).run(model, input=input)
    return await output.read()


def status(call):
    try:
        call()
    except replicate.APIStatusError as error:
        return error.status_code


files = [output.read() for output in client.run(model, input={**input, "num_outputs": 2})]
files += [client.run(f"{model}:{version}", input=input)[0].read(), client.run(model, input=input, wait=1)[0].read()]
files.append(asyncio.run(run()))
waited = client.predictions.create(version=model, input=input, prefer="wait=30")
cancelled = client.predictions.create(version=version, input=input)
client.predictions.cancel(prediction_id=cancelled.id)
refused = replicate.Replicate(bearer_token="wrong")
limited = replicate.Replicate(bearer_token=limited, max_retries=0)
limited.account.get()
since = waited.created_at + timedelta(milliseconds=1)  # times are cut to milliseconds
shown = {
    "files": [base64.b64encode(file).decode() for file in files],
    "used": [type(each).__name__ for each in replicate.use(model)(**input)],
    "waited": waited.status,
    "cancelled": client.predictions.get(prediction_id=cancelled.id).status,
    "listed": len(list(client.predictions.list())),
    "listed since": len(list(client.predictions.list(created_after=since))),
    "models": [each.name for each in client.models.list()],
    "account": client.account.get().name,
    "refused": status(refused.account.get),
    "invalid": status(lambda: client.run(model, input={**input, "width": 1})),
    "limited": status(limited.account.get),
}
print(json.dumps(shown))
