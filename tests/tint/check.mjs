// Takes every kernel of a folder through Tint, the WGSL compiler of Chromium and Dawn, as a compute pipeline on a device
// with WebGPU's default limits that runs nothing: `node tests/tint/check.mjs DIR`. Prints what is rejected and why, counts
// what Tint has no extension for, and fails where anything is rejected or nothing was checked.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);

// What wgpu offers beyond WebGPU, and how a kernel that uses it is known.
const EXTENSIONS = [
    ["integers of 64 bits (u64)", /\bu64\b/],
    ["cooperative matrices (wgpu_cooperative_matrix)", /^enable wgpu_cooperative_matrix;/m],
];

const [folder] = process.argv.slice(2);
if (!folder) {
    console.error("usage: node tests/tint/check.mjs DIR");
    process.exit(64);
}
const files = readdirSync(folder).filter(name => name.endsWith(".wgsl")).sort();

// Kept for as long as the device: where it is collected, the device is gone.
globalThis.gpu = create(["backend=null"]);
const adapter = await gpu.requestAdapter();
const wanted = ["shader-f16", "subgroups"];
const missing = wanted.filter(feature => !adapter.features.has(feature));
if (missing.length > 0) {
    console.error(`Tint's null device lacks ${missing.join(", ")}`);
    process.exit(1);
}
const device = await adapter.requestDevice({ requiredFeatures: wanted });

// The messages of a kernel that is rejected, or none. naga knows no `enable subgroups;`, WGSL asks for it.
async function rejection(text) {
    const code = /\bsubgroup/.test(text) ? `enable subgroups;\n${text}` : text;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const errors = messages.filter(m => m.type === "error").map(m => `${m.lineNum}:${m.linePos} ${m.message}`);
    if (errors.length === 0) {
        device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
    }
    const error = await device.popErrorScope();
    return errors.length > 0 ? errors.join("\n") : error?.message;
}

let [accepted, rejected] = [0, 0];
const beyond = new Map(EXTENSIONS.map(([name]) => [name, []]));
for (const file of files) {
    const text = readFileSync(join(folder, file), "utf8");
    const extension = EXTENSIONS.find(([, pattern]) => pattern.test(text));
    if (extension) {
        beyond.get(extension[0]).push(file);
        continue;
    }
    const message = await rejection(text);
    if (message === undefined) {
        accepted += 1;
    } else {
        rejected += 1;
        console.log(`rejected: ${file}, ${text.split("\n", 1)[0]}\n${message}\n`);
    }
}
for (const [name, names] of beyond) {
    const which = names.length > 0 ? `: ${names[0]} to ${names.at(-1)}` : "";
    console.log(`not for Tint, which has no ${name}: ${names.length} kernels${which}`);
}
console.log(`Tint: ${accepted + rejected} kernels, ${accepted} accepted, ${rejected} rejected`);
// The device would keep the program alive.
process.exit(rejected > 0 || accepted === 0 ? 1 : 0);
