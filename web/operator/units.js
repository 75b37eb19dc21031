// Numbers for people. None of these says more digits than mean something.

/** A count: 950, 12.3k, 1.2M. */
export function count(n) {
  if (!Number.isFinite(n)) return '–';
  const size = Math.abs(n);
  if (size < 10_000) return digits(n, size < 10 && !Number.isInteger(n) ? 1 : 0);
  if (size < 999_500) return `${digits(n / 1e3, size < 99_950 ? 1 : 0)}k`;
  if (size < 999_500_000) return `${digits(n / 1e6, 1)}M`;
  return `${digits(n / 1e9, 1)}G`;
}

/** Bytes in binary units. */
export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  let size = n;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (Math.abs(size) < 1023.5) return `${digits(size, unit !== 'B' && Math.abs(size) < 99.95 ? 1 : 0)} ${unit}`;
    size /= 1024;
  }
  return `${digits(size, 1)} TiB`;
}

/** How often a second. */
export const rate = (n) => `${count(n)}/s`;

export const byteRate = (n) => `${bytes(n)}/s`;

/** A short time: 0.4 ms, 12 ms, 1.3 s. */
export function latency(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 0.9995) {
    const ms = seconds * 1000;
    return `${digits(ms, ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0)} ms`;
  }
  return `${digits(seconds, seconds < 10 ? 2 : 1)} s`;
}

/** A long time: 12 s, 4 min, 3 h 20 min, 12 d 4 h. */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 120) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** The time of day with milliseconds, in the viewer's zone. */
export function clock(at) {
  const two = (n, width = 2) => String(n).padStart(width, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}

/** Points of a line through values in a box of that size, the newest at the right. */
export function sparkline(values, width, height, most) {
  const top = Math.max(...values, 1e-9);
  const step = width / Math.max(1, most - 1);
  const left = width - step * (values.length - 1);
  return values.map((v, i) => `${(left + i * step).toFixed(1)},${(height - 1 - (v / top) * (height - 2)).toFixed(1)}`).join(' ');
}

function digits(n, places) {
  const text = n.toFixed(places);
  return Number(text) === 0 ? '0' : text;
}
