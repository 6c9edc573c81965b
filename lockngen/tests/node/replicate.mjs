// A program that uses Replicate's JavaScript client, and prints what it gets.
import { createServer } from "node:http";
import Replicate, { parseProgressFromLogs, validateWebhook } from "replicate";

const [baseUrl, auth, limited] = process.argv.slice(2);
const client = (auth, options) => new Replicate({ auth, baseUrl, ...options });
const replicate = client(auth);
const model = "lockngen/sketch";
const input = { prompt: "a lighthouse", width: 64, height: 64 };
const bytes = async (file) => Buffer.from(await (await file.blob()).arrayBuffer()).toString("base64");
const status = (promise) => promise.then(() => 0, (error) => error.response.status);

const blocked = await replicate.run(model, { input: { ...input, num_outputs: 2 } });
const polled = await replicate.run(model, { input, wait: { mode: "poll" } });
const late = await replicate.run(model, { input, wait: { mode: "block", timeout: 1 } });
const { latest_version: version } = await replicate.models.get("lockngen", "sketch");
const pinned = await replicate.run(`${model}:${version.id}`, { input });
const files = await Promise.all([...blocked, ...polled, ...late, ...pinned].map(bytes));

const waited = await replicate.predictions.create({ model, input, wait: 30 });
const cancelled = await replicate.predictions.create({ version: model, input });
await replicate.predictions.cancel(cancelled.id);

const events = [];
for await (const event of replicate.stream(model, { input })) {
    if (event.event !== "logs") events.push([event.event, typeof event.data]);
    if (event.event === "output") files.push(await bytes(event.data));
}
let listed = 0;
for await (const page of replicate.paginate(replicate.predictions.list)) listed += page.length;

const received = [];
const receiver = createServer(async (request, response) => {
    const chunks = await request.toArray();
    received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    response.end();
}).listen(0, "127.0.0.1");
const address = () => `http://127.0.0.1:${receiver.address().port}/`;
const { key } = await replicate.webhooks.default.secret.get();
await replicate.run(model, { input, webhook: address(), webhook_events_filter: ["completed"] });
while (!received.length) await new Promise((resolve) => setTimeout(resolve, 50));
receiver.close();

console.log(JSON.stringify({
    files, events, listed,
    waited: [waited.status, parseProgressFromLogs(waited).percentage],
    cancelled: (await replicate.predictions.get(cancelled.id)).status,
    versions: (await replicate.models.versions.list("lockngen", "sketch")).results.length,
    models: (await replicate.models.list()).results.map((model) => model.name),
    account: (await replicate.accounts.current()).name,
    webhook: [await validateWebhook(received[0], key), JSON.parse(received[0].body).status],
    refused: await status(client("wrong").run(model, { input })),
    invalid: await status(replicate.run(model, { input: { ...input, width: 1 } })),
    limited: await status(Promise.all(Array.from({ length: 4 }, () => client(limited).accounts.current()))),
}));
