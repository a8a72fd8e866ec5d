// Where a passage stands in the text of its document.

/** A text with each run of blanks as one, and where each of its units was. */
function squeezed(text) {
  let squeezedText = "";
  const places = [];
  let blank = false;
  for (let i = 0; i < text.length; i++) {
    const isBlank = /\s/.test(text[i]);
    if (isBlank && blank) continue;
    squeezedText += isBlank ? " " : text[i];
    places.push(i);
    blank = isBlank;
  }
  places.push(text.length);
  return { text: squeezedText, places };
}

/**
 * Find a passage in a document, blanks aside.
 *
 * @returns null, or {start, end, at}: its range in the document, and `at`, which moves an offset within the passage to
 *   one within the document. All in UTF-16 units.
 */
export function locate(passage, whole) {
  const start = whole.indexOf(passage);
  if (passage && start >= 0) return { start, end: start + passage.length, at: (offset) => start + offset };
  const [needle, hay] = [squeezed(passage.trim()), squeezed(whole)];
  const found = needle.text ? hay.text.indexOf(needle.text) : -1;
  if (found < 0) return null;
  const lead = passage.length - passage.trimStart().length;
  const at = (offset) => {
    const wanted = offset - lead;
    let low = 0;
    let high = needle.places.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (needle.places[middle] >= wanted) high = middle;
      else low = middle + 1;
    }
    return hay.places[found + low];
  };
  return { start: hay.places[found], end: hay.places[found + needle.text.length], at };
}
