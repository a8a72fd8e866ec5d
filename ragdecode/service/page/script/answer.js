// An answer as its events tell it: pieces of text, sentences, passages, tokens. No elements here.
import { pointCount } from "./points.js";

export class Answer {
  constructor() {
    this.passages = [];
    this.sentences = [];
    this.pieces = []; // {start, end, text, token?, logprob?, position?}; offsets in code points
    this.record = null;
    this.tokens = [];
    this.texts = {};
    this.views = [];
    this.headline = "";
    this.actions = [];
  }

  get text() {
    return this.pieces.map((piece) => piece.text).join("");
  }
  get length() {
    return this.pieces.length ? this.pieces[this.pieces.length - 1].end : 0;
  }

  apply(kind, data) {
    if (kind === "passages") this.passages = data.passages;
    else if (kind === "token") this.#add(data);
    else if (kind === "retract") this.#retract(data.characters);
    else if (kind === "sentence") this.sentences.push(data.sentence);
    else if (kind === "action") this.actions.push(data);
    else if (kind === "done") this.#finish(data.answer, data.trace || data.answer.trace);
  }

  #add({ text, token, logprob, position }) {
    const start = this.length;
    this.pieces.push({ start, end: start + pointCount(text), text, token, logprob, position });
  }

  #retract(characters) {
    const kept = [];
    for (const piece of this.pieces) {
      if (piece.start >= characters) continue;
      if (piece.end > characters) {
        piece.text = [...piece.text].slice(0, characters - piece.start).join("");
        piece.end = characters;
      }
      kept.push(piece);
    }
    this.pieces = kept;
    this.sentences = this.sentences.filter((sentence) => sentence.end <= characters);
  }

  #finish(record, trace) {
    this.record = record;
    this.passages = record.passages;
    this.sentences = record.sentences;
    // what was streamed is the answer; where it is not (a retraction that was missed), the record is right
    if (this.text !== record.answer) {
      this.pieces = [{ start: 0, end: pointCount(record.answer), text: record.answer }];
    }
    const rules = Object.fromEntries((record.tokens || []).map((one) => [one.position, one]));
    if (trace && trace.tokens) {
      Object.assign(this, { texts: trace.texts, views: trace.views, headline: trace.headline || "" });
      this.tokens = trace.tokens.map((token) => ({ ...token, rules: token.rules || rules[token.position]?.rules || {} }));
    } else {
      this.tokens = this.pieces.filter((piece) => piece.token !== undefined).map((piece, position) => {
        this.texts[piece.token] = rules[position]?.text ?? piece.text;
        return { position, token: piece.token, logprob: piece.logprob, views: {}, choices: {}, alternatives: [],
          rules: rules[position]?.rules || {} };
      });
    }
    this.#place();
  }

  // Which piece each token wrote. As streamed where the two agree, else by matching texts from left to right.
  #place() {
    const streamed = this.pieces.filter((piece) => piece.token !== undefined);
    if (streamed.length === this.tokens.length && streamed.every((piece, i) => piece.token === this.tokens[i].token)) {
      streamed.forEach((piece, i) => {
        piece.index = i;
        Object.assign(this.tokens[i], { start: piece.start, end: piece.end });
      });
      return;
    }
    const points = [...this.text];
    const pieces = [];
    let at = 0;
    this.tokens.forEach((token, index) => {
      let text = [...(this.texts[token.token] ?? "")];
      if (index === 0) while (text.length && text[0] !== points[0] && text[0].trim() === "") text = text.slice(1);
      const fits = text.length > 0 && text.every((point, i) => points[at + i] === point);
      const start = at;
      if (fits) at += text.length;
      token.start = start;
      token.end = at;
      pieces.push({ start, end: at, text: points.slice(start, at).join(""), token: token.token, index });
    });
    if (at < points.length) pieces.push({ start: at, end: points.length, text: points.slice(at).join("") });
    this.pieces = pieces;
  }

  /** The text in order: sentences and what is between them, each with the pieces of tokens that it is made of. */
  segments() {
    const found = [];
    let at = 0;
    const push = (start, end, sentence, index) => {
      if (end > start) found.push({ start, end, sentence, index, parts: this.#parts(start, end) });
    };
    this.sentences.forEach((sentence, index) => {
      push(at, sentence.start);
      push(Math.max(at, sentence.start), Math.min(sentence.end, this.length), sentence, index);
      at = Math.max(at, sentence.end);
    });
    push(at, this.length);
    return found;
  }

  #parts(start, end) {
    const parts = [];
    for (const piece of this.pieces) {
      const [first, last] = [Math.max(start, piece.start), Math.min(end, piece.end)];
      if (last <= first) continue;
      const text = first === piece.start && last === piece.end ? piece.text
        : [...piece.text].slice(first - piece.start, last - piece.start).join("");
      parts.push({ text, index: piece.index });
    }
    return parts;
  }

  /** The number of the sentence that a token stands in, or -1. */
  sentenceOf(index) {
    const token = this.tokens[index];
    return token ? this.sentences.findIndex((one) => one.start < Math.max(token.end, token.start + 1) && token.start < one.end) : -1;
  }
  /** The first token of a sentence, or -1. */
  tokenOf(sentence) {
    const one = this.sentences[sentence];
    return one ? this.tokens.findIndex((token) => token.end > one.start) : -1;
  }
}
