/* What a watching tab asks for by itself, and how it sets what it found: see pages/runs/watching.py
   and RunsPage.apply_news in pages/runs/components.py. */

const KEEP = { __type__: "update" };
const REST = 20; // what took long is asked again after so many times as long
const MOST_REST_MS = 30_000; // a page is never older than this, however slow the server

let applied = "";
let isAsking = false;
let nextAt = 0;

/* The news for what the page shows, its `given` by `names`. A hidden page asks nothing, and one
   whose last answer took long, because the server is busy, waits longer. */
export async function ask(address, names, ...given) {
	const began = performance.now();
	if (isAsking || document.hidden || began < nextAt) return [KEEP];
	isAsking = true;
	try {
		const named = names.map((name, place) => [name, String(given[place] ?? "")]);
		const answer = await fetch(`${address}&${new URLSearchParams(named)}`);
		return [answer.status === 200 ? await answer.text() : KEEP];
	} catch {
		return [KEEP]; // the server is gone, or the page is being left; the next tick asks again
	} finally {
		isAsking = false;
		const now = performance.now();
		nextAt = now + Math.min(REST * (now - began), MOST_REST_MS);
	}
}

/* names: the parts, in the order of the outputs after the first, which is the fingerprint. News
   that was found for something else than the page shows now is dropped. */
export function apply(names, news, fingerprint) {
	const nothing = [KEEP, ...names.map(() => KEEP)];
	if (!news || news === applied) return nothing;
	applied = news;
	const { known, fingerprint: next, values } = JSON.parse(news);
	if (known !== fingerprint) return nothing;
	return [next, ...names.map((name) => (name in values ? update(values[name]) : KEEP))];
}

const update = (value) =>
	typeof value === "boolean" ? { __type__: "update", visible: value } : value;
