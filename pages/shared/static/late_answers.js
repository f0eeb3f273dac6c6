/* Sets what an answer says, unless it comes too late: see pages/shared/late_answers.py. */

const KEEP = { __type__: "update" };

const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

/* follows: all outputs depend on all fields; places: each output's own place among the fields, or
   -1; carried: the answer; now: what the fields say. Returns what each output becomes. */
export function settle(follows, places, carried, ...now) {
	if (!carried) return places.map(() => KEEP);
	const { said, values } = JSON.parse(carried);
	const moved = now.map((value, index) => !same(value, said[index]));
	if (follows && moved.includes(true)) return places.map(() => KEEP);
	return places.map((place, index) =>
		index in values && !moved[place] ? values[index] : KEEP,
	);
}
