// node onnx_web.mjs PACKAGES MODEL POINTS VALUES float32|float64 BATCH
// Run a model of BATCH points for all points of a file, in the onnxruntime-web that is installed below PACKAGES.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, model, points, values, type, batch] = process.argv.slice(2);
const ort = createRequire(pathToFileURL(packages + "/"))("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
const Numbers = { float32: Float32Array, float64: Float64Array }[type];
const read = readFileSync(points);
const x = new Numbers(read.buffer.slice(read.byteOffset, read.byteOffset + read.length));
const size = session.inputMetadata[0].shape[1] * batch;
const parts = [];
for (let at = 0; at < x.length; at += size) {
  const { y } = await session.run({ x: new ort.Tensor(type, x.subarray(at, at + size), [+batch, size / batch]) });
  parts.push(new Uint8Array(y.data.buffer, y.data.byteOffset, y.data.byteLength).slice());
}
writeFileSync(values, Buffer.concat(parts));
