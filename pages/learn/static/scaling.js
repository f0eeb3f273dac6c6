/* The step "scaling": how large ΔW is after the first step, by alpha/r and by alpha/√r. */

import { make, parsed } from "../shared/elements.js";
import { chart, legend } from "./chart.js";
import { slider } from "./controls.js";
import { say, significant } from "./words.js";

const HEIGHT = 290;
const PLAIN = "rs-line-accent";
const STABILIZED = "rs-line-second";
const MOST_ALPHA = 128;

export function scaling(box, props) {
	const { ranks, norms, alpha: firstAlpha, rank: firstRank, words } = parsed(props.value);
	const size = (alpha, i, root) => (alpha / (root ? Math.sqrt(ranks[i]) : ranks[i])) * norms[i];
	const last = ranks.length - 1;
	const [least, most] = [size(1, last, false), size(MOST_ALPHA, last, true)];
	const holder = make("div", "rs-chart-holder");
	const curves = chart(holder, {
		label: words.chart,
		height: HEIGHT,
		x: {
			least: 1,
			most: ranks[last],
			log: true,
			ticks: ranks.map((r) => [r, r]),
			label: words.ranks,
		},
		y: {
			least: least / 1.3,
			most: most * 1.3,
			log: true,
			ticks: decades(least, most),
			label: words.size,
		},
	});
	const names = legend([
		[words.plain, PLAIN],
		[words.stabilized, STABILIZED],
	]);
	const result = make("p", "rs-learn-words");
	result.setAttribute("role", "status");
	const alpha = slider({
		label: words.alpha,
		least: 0,
		most: Math.log2(MOST_ALPHA),
		value: Math.log2(firstAlpha),
		text: (power) => String(2 ** power),
		moved: () => draw(),
	});
	const rank = slider({
		label: words.rank,
		least: 0,
		most: last,
		value: ranks.indexOf(firstRank),
		text: (i) => String(ranks[i]),
		moved: () => mark(),
	});
	const controls = make("div", "rs-sliders");
	controls.append(alpha.row, rank.row);
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(names, holder, controls, result);

	const chosen = () => [2 ** alpha.input.valueAsNumber, rank.input.valueAsNumber];

	function mark() {
		const [a, i] = chosen();
		const [plain, stabilized] = [size(a, i, false), size(a, i, true)];
		curves.mark(ranks[i], [
			[plain, PLAIN],
			[stabilized, STABILIZED],
		]);
		result.textContent = say(words.result, {
			alpha: a,
			rank: ranks[i],
			factor: significant(a / ranks[i]),
			size: significant(plain),
			root: significant(a / Math.sqrt(ranks[i])),
			stable: significant(stabilized),
			times: significant(stabilized / plain),
		});
	}

	function draw() {
		const [a] = chosen();
		const points = (root) => ranks.map((r, i) => [r, size(a, i, root)]);
		curves.lines([
			{ points: points(false), kind: PLAIN },
			{ points: points(true), kind: STABILIZED },
		]);
		mark();
	}
	draw();
}

/* The powers of ten between two values. */
function decades(least, most) {
	const found = [];
	for (let power = Math.ceil(Math.log10(least)); 10 ** power <= most; power++)
		found.push([10 ** power, significant(10 ** power)]);
	return found;
}
