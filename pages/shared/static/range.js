/* A range beside a number field: it moves the number, and shows it where it is within its bounds.
   What is typed stays as it is typed, so that the engine can say what is wrong with it. */

/* By id of the field: the range's upper end if it was set, and what shows the number. */
const ends = new Map();
const shows = new Map();

/* May come before the range is there. */
export function endRange(field, most) {
	ends.set(field, most);
	shows.get(field)?.();
}

/* After Gradio has set the number, by an address or an answer: it tells the page no other way. */
export function showNumber(field) {
	requestAnimationFrame(() => shows.get(field)?.());
	return [];
}

const FRAMES_TO_WAIT = 600;

/* Gradio may draw the field after this part. */
export function range(_element, _props, _watch, _trigger, field, ...bounds) {
	let waited = 0;
	const look = () => {
		const holder = document.getElementById(field);
		const number = holder?.querySelector("input[type=number]");
		if (number) addRange(field, holder, number, ...bounds);
		else if (waited++ < FRAMES_TO_WAIT) requestAnimationFrame(look);
	};
	look();
}

function addRange(field, holder, number, least, most, step) {
	if (holder.querySelector("input[type=range]")) return;
	const slider = document.createElement("input");
	slider.className = "rs-range";
	Object.assign(slider, { type: "range", min: least, max: most, step });
	slider.setAttribute("aria-label", holder.querySelector("label span")?.textContent.trim());
	const show = () => {
		const typed = number.valueAsNumber;
		slider.max = Math.max(ends.get(field) ?? most, least);
		if (Number.isFinite(typed)) slider.value = typed;
		const length = Math.max(slider.max - least, 1e-9);
		const filled = (100 * (slider.valueAsNumber - least)) / length;
		slider.style.setProperty("--filled", `${Math.min(100, filled)}%`);
	};
	slider.addEventListener("input", () => {
		number.value = slider.value;
		number.dispatchEvent(new Event("input", { bubbles: true }));
		show();
	});
	number.addEventListener("input", show);
	holder.append(slider);
	shows.set(field, show);
	show();
}
