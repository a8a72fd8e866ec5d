// The service counts characters as code points; JavaScript counts UTF-16 units. These go from one to the other.

/** The unit that the code point number `points` of `text` begins at. */
export function unitAt(text, points) {
  let unit = 0;
  for (let i = 0; i < points && unit < text.length; i++) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
  return unit;
}

/** How many code points a text has. */
export function pointCount(text) {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** A piece of a text by code points. */
export function slicePoints(text, start, end) {
  const from = unitAt(text, start);
  return text.slice(from, from + unitAt(text.slice(from), end - start));
}
