/* Sets what a refresh found: see RunsPage.apply_news in pages/runs/components.py. */

const KEEP = { __type__: "update" };

let applied = "";

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
