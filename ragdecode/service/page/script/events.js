// Server-sent events as they come in a response.

/** Events of a body, one by one: {kind, data}; data that is no JSON is left out. */
export async function* serverEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      held += value || "";
      // a block ends with an empty line; CR LF and LF are both lawful
      const blocks = held.split(/\r?\n\r?\n/);
      held = done ? "" : blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  let kind = "";
  const lines = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") kind = value;
    if (field === "data") lines.push(value);
  }
  if (!lines.length) return null;
  try {
    const data = JSON.parse(lines.join("\n"));
    return { kind: kind || data.event, data };
  } catch {
    return null;
  }
}
