// @name@.js: the model @name@ in JavaScript, @precision@, numerics profile @profile@. Written by kdpinn_edge @version@.
//
//     const model = await instantiate(await (await fetch("@name@.wasm")).arrayBuffer());
//     model.evaluate(@numbers@.of(@point@)); // any number of points, one after the other
//     model.evaluate(x, "eval"); // or another of `functions`
//     model.selftest(); // 0 where the bits are those that were exported
//     model.integrity(); // 0 where the constants in memory are those that were exported

/** The columns of a point, and those that each function returns for it. */
export const inputs = @inputs@;
export const functions = @functions@;
export const Numbers = @numbers@;

/** The model in the bytes of @name@.wasm. */
export async function instantiate(wasm) {
  const { instance } = await WebAssembly.instantiate(wasm);
  const { memory, ...c } = instance.exports;
  const free = memory.buffer.byteLength; // the kernel's own memory ends here

  /** The columns of a function at the points x, both as Numbers. */
  function evaluate(x, name = "eval") {
    if (!Object.hasOwn(functions, name))
      throw new TypeError(`no function is called ${name}; expected: ${Object.keys(functions).join(", ")}`);
    const n = x.length / inputs.length;
    if (!(x instanceof Numbers) || !Number.isInteger(n))
      throw new TypeError(`x is not a ${Numbers.name} of ${inputs.length} numbers per point`);
    const size = x.length + n * functions[name].length;
    const missing = free + size * x.BYTES_PER_ELEMENT - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    const numbers = new Numbers(memory.buffer, free, size);
    numbers.set(x);
    c[`@name@_${name}`](free, free + x.byteLength, BigInt(n));
    return numbers.slice(x.length);
  }

  return { evaluate, selftest: c.@name@_selftest, integrity: c.@name@_integrity };
}
