/* The step "energy": how much of each update the first k singular values hold, for two trainings. */

import { make, parsed } from "../shared/elements.js";
import { chart, legend } from "./chart.js";
import { slider } from "./controls.js";
import { say } from "./words.js";

const HEIGHT = 300;
const MOST = 64;
const HELD = 0.9;
const KINDS = { full: "rs-line-second", "lora r64": "rs-line-accent" };

const holding = (update, k) =>
	Object.values(update.values_for_90).filter((needed) => needed <= k).length;

const median = (numbers) => {
	const sorted = [...numbers].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

export function energy(box, props) {
	const { updates, words } = parsed(props.value);
	const holder = make("div", "rs-chart-holder");
	const shares = [0, 0.25, 0.5, 0.75, 1];
	const curves = chart(holder, {
		label: words.chart,
		height: HEIGHT,
		x: {
			least: 1,
			most: MOST,
			ticks: [1, 10, 20, 30, 40, 50, MOST].map((k) => [k, k]),
			label: words.values,
		},
		y: {
			least: 0,
			most: 1.04,
			ticks: shares.map((share) => [share, `${100 * share} %`]),
			label: words.share,
		},
	});
	const names = legend(updates.map(({ trained }) => [words.trained[trained], KINDS[trained]]));
	const told = make("div");
	told.setAttribute("role", "status");
	const list = make("ul", "rs-learn-list");
	told.append(list);
	const lines = updates.map(() => {
		const line = make("li");
		list.append(line);
		return line;
	});
	const control = slider({
		label: words.k,
		least: 1,
		most: MOST,
		value: 20,
		text: (k) => String(k),
		moved: show,
	});
	const controls = make("div", "rs-sliders");
	controls.append(control.row);
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(names, holder, controls, told, make("p", "rs-learn-note", words.how));
	curves.levels([{ y: HELD, text: "90 %" }]);
	curves.lines(
		updates.flatMap(({ trained, curves: all }) =>
			Object.values(all).map((shares) => ({
				points: shares.map((share, i) => [i + 1, share]),
				kind: `${KINDS[trained]} rs-line-thin`,
			})),
		),
	);

	const mids = updates.map((update) => Array.from({ length: MOST }, (_, i) => mid(update, i + 1)));

	function show(k) {
		curves.mark(
			k,
			updates.map((update, i) => [mids[i][k - 1], KINDS[update.trained]]),
		);
		updates.forEach((update, i) => {
			lines[i].textContent = say(words.result, {
				trained: words.trained[update.trained],
				k,
				count: holding(update, k),
				all: Object.keys(update.curves).length,
				share: `${(100 * mids[i][k - 1]).toFixed(1)} %`,
				median: median(Object.values(update.values_for_90)),
				most: Math.max(...Object.values(update.values_for_90)),
			});
		});
	}
	show(20);
}

/* The median module's energy at k; a curve that ends has all of it. */
const mid = ({ curves }, k) => median(Object.values(curves).map((shares) => shares[k - 1] ?? 1));
