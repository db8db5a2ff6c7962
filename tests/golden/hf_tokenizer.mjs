// Golden token ids from Hugging Face's own tokenizers (Rust 0.22, npm package @anush008/tokenizers 0.6.0).
//   npm install @anush008/tokenizers@0.6.0
//   node tests/golden/hf_tokenizer.mjs tests/golden/hf_tokenizer.json TOKENIZER.json...
// writes, for each tokenizer.json (trained with `orion-engine tokenizer train`), the ids of text that is hard to cut:
// white space of every kind, contractions, digits, many scripts, code points beyond U+FFFF.
import fs from 'fs';
import { createRequire } from 'module';

const { Tokenizer } = createRequire(process.cwd() + '/')('@anush008/tokenizers');
const parts = [
  ' ', '  ', '\t', '\n', '\r', '\r\n', '\n\n', '\u00a0', '\u0085', '\u2003', '\u3000', '\v', '\u2028', '\u200b', '\u001c',
  "'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'lL", "'d", "'", "''", "'\u017f", '\u2019s', 'a', 'b', 'the', 'Hello',
  'é', 'ß', 'ж', '中文', 'ǅ', 'ʰ', 'ª', 'İ', 'e\u0301', '\u0301', '0', '1', '12', '123', '1234', '9876543210', '½', 'Ⅷ', '٣', '①',
  '.', ',', '!?', '(', ')', '_', '-', '=>', '€', '\u00ad', '\ufffd', '\ue000', '😀', '𝐀', '𝟘', '𐐷', '🇩🇪', '𠀀', '𐄇',
];
let state = 12345;
const next = (bound) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 4294967296 * bound | 0;
const cases = Array.from({ length: 60 }, (_, i) => Array.from({ length: 1 + i }, () => parts[next(parts.length)]).join(''));
const [target, ...files] = process.argv.slice(2);
const all = [];
for (const file of files) {
  const tokenizer = Tokenizer.fromFile(file);
  const encoded = [];
  for (const text of cases) {
    const encoding = await tokenizer.encode(text, null, { addSpecialTokens: false });
    encoded.push({ text, ids: Array.from(encoding.getIds()) });
  }
  all.push({ tokenizer: JSON.parse(fs.readFileSync(file, 'utf8')), cases: encoded });
}
fs.writeFileSync(target, '[\n' + all.map((entry) => JSON.stringify(entry)).join(',\n') + '\n]\n');
