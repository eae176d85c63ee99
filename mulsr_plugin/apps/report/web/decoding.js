'use strict';
// The other half of apps/report/storing.py: from the characters in the document to components and maps. Runs in workers,
// see workers.js.

const LIFTING = [-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971];
const LIFTING_GAIN = 1.149604398860241;
const LARGEST_LEVELS = 5, SMALLEST_SIDE = 8, PLANES = 3;

// Codes of the characters that windows-1252 has for the bytes 0x80 to 0x9f.
const BYTE_OF_CHARACTER = (() => {
  const table = new Uint8Array(0x2123);
  for (let byte = 0; byte < 256; byte++) table[byte] = byte;
  const codes = [0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d,
    0x17d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d,
    0x17e, 0x178];
  codes.forEach((code, index) => { table[code] = 0x80 + index; });
  return table;
})();

function bytesOf(text) {
  const bytes = new Uint8Array(text.length);
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = BYTE_OF_CHARACTER[text.charCodeAt(at)];
    bytes[count++] = byte === 61 ? text.charCodeAt(++at) - 64 : byte;
  }
  return bytes.subarray(0, count);
}

async function inflate(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Components (one Float32Array each, null where all are zero) of a cube.
async function decodeCube({ text, step, count, height, width }) {
  const planes = await inflate(text);
  const pixels = height * width, all = count * pixels;
  return Array.from({ length: count }, (_, number) => decodeComponent(planes, number * pixels, all, pixels, step, height, width));
}

function decodeComponent(planes, start, all, pixels, step, height, width) {
  const values = new Float32Array(pixels);
  let any = 0;
  for (let at = 0; at < pixels; at++) {
    const place = start + at;
    const whole = planes[place] | (planes[place + all] << 8) | (planes[place + (PLANES - 1) * all] << 16);
    any |= whole;
    values[at] = ((whole >>> 1) ^ -(whole & 1)) * step;
  }
  return any ? inverseWavelet(values, height, width) : null;
}

function inverseWavelet(coefficients, height, width) {
  const sizes = [];
  let rows = height, columns = width;
  while (sizes.length < LARGEST_LEVELS && Math.min(rows, columns) >= SMALLEST_SIDE) {
    sizes.push([rows, columns]);
    rows = (rows + 1) >> 1;
    columns = (columns + 1) >> 1;
  }
  let image = coefficients.subarray(0, rows * columns), start = rows * columns;
  for (const [fullRows, fullColumns] of sizes.reverse()) {
    const lowRows = (fullRows + 1) >> 1, highRows = fullRows >> 1;
    const lowColumns = (fullColumns + 1) >> 1, highColumns = fullColumns >> 1;
    const take = (size) => coefficients.subarray(start, (start += size));
    const lowHigh = take(highRows * lowColumns), highLow = take(lowRows * highColumns), highHigh = take(highRows * highColumns);
    const low = joinRows(image, lowHigh, lowRows, highRows, lowColumns);
    const high = joinRows(highLow, highHigh, lowRows, highRows, highColumns);
    image = joinColumns(low, high, fullRows, lowColumns, highColumns);
  }
  return image;
}

// Rows of two halves, alternating, with the lifting steps undone in place.
function joinRows(low, high, lowRows, highRows, columns) {
  const joined = new Float32Array((lowRows + highRows) * columns);
  if (isZero(low) && isZero(high)) return joined; // as is most detail of weak components
  for (let row = 0; row < lowRows + highRows; row++) {
    const source = row & 1 ? high : low, gain = row & 1 ? LIFTING_GAIN : 1 / LIFTING_GAIN;
    for (let column = 0, from = (row >> 1) * columns, to = row * columns; column < columns; column++) joined[to++] = source[from++] * gain;
  }
  for (let number = LIFTING.length - 1; number >= 0; number--) {
    const factor = -LIFTING[number], odd = 1 - (number & 1);
    for (let row = odd; row < lowRows + highRows; row += 2) {
      const [before, after] = neighbours(row, lowRows, highRows);
      let to = row * columns, one = before * columns, other = after * columns;
      for (let column = 0; column < columns; column++) joined[to++] += factor * (joined[one++] + joined[other++]);
    }
  }
  return joined;
}

function isZero(values) {
  for (let at = 0; at < values.length; at++) if (values[at]) return false;
  return true;
}

// Places beside one of the other half; at the ends the only neighbour counts twice.
function neighbours(place, lowCount, highCount) {
  const last = lowCount + highCount - 1;
  return [place ? place - 1 : 1, place < last ? place + 1 : last - 1];
}

function joinColumns(low, high, rows, lowColumns, highColumns) {
  const columns = lowColumns + highColumns;
  const joined = new Float32Array(rows * columns);
  const values = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    for (let at = 0, from = row * lowColumns; at < columns; at += 2) values[at] = low[from++] / LIFTING_GAIN;
    for (let at = 1, from = row * highColumns; at < columns; at += 2) values[at] = high[from++] * LIFTING_GAIN;
    for (let number = LIFTING.length - 1; number >= 0; number--) {
      const factor = -LIFTING[number], odd = 1 - (number & 1);
      for (let at = odd ? 1 : 2; at < columns - 1; at += 2) values[at] += factor * (values[at - 1] + values[at + 1]);
      if (!odd) values[0] += factor * 2 * values[1];
      if (((columns - 1) & 1) === odd) values[columns - 1] += factor * 2 * values[columns - 2];
    }
    joined.set(values, row * columns);
  }
  return joined;
}

// Levels of a map, see store_map.
async function decodeMap({ text, height, width }) {
  const levels = await inflate(text);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      const above = row ? levels[at - width] : 0, before = column ? levels[at - 1] : 0;
      levels[at] = levels[at] + ((above + before) >> 1);
    }
  }
  return levels;
}

onmessage = async ({ data }) => {
  try {
    const result = await (data.kind === 'cube' ? decodeCube(data) : decodeMap(data));
    postMessage({ result }, [result].flat().filter(Boolean).map((values) => values.buffer));
  } catch (error) {
    postMessage({ error: error.message });
  }
};
