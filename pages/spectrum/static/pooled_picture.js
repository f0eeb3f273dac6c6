/* A matrix pooled to the screen, and its rank-k approximation at any k.
   near = sum over i <= k of left_i right_i^T: moving k adds or subtracts a few such terms. */

const KEYFRAME = 64; // ranks between two stored pictures
const MOST_KEYFRAMES = 16;

export class PooledPicture {
	constructor(height, width, ranks) {
		this.height = height;
		this.width = width;
		this.ranks = ranks;
		this.have = 0; // ranks that have arrived
		this.original = new Float32Array(height * width);
		this.near = new Float32Array(height * width);
		this.k = 0; // of `near`
		this.left = new Float32Array(ranks * height);
		this.right = new Float32Array(ranks * width);
		this.keyframes = new Map();
	}

	/* Take the part that begins at rank `first`, as pages/spectrum/routes.py sends it. */
	take(buffer, first) {
		const values = new Float32Array(buffer);
		let place = 0;
		if (first === 0) {
			this.original.set(values.subarray(0, this.original.length));
			place = this.original.length;
		}
		const count = (values.length - place) / (this.height + this.width);
		this.left.set(values.subarray(place, place + count * this.height), first * this.height);
		place += count * this.height;
		this.right.set(values.subarray(place), first * this.width);
		this.have = first + count;
	}

	/* Bring `near` to rank k, or to the last rank at hand. Returns the rank it is at. */
	moveTo(k) {
		const wanted = Math.min(k, this.have);
		this.start(wanted);
		while (this.k < wanted) this.add(this.k, Math.min(4, wanted - this.k), 1);
		while (this.k > wanted) {
			const count = Math.min(4, this.k - wanted);
			this.add(this.k - count, count, -1);
		}
		return this.k;
	}

	/* Begin from zero or a stored picture where that is nearer than where we are. */
	start(wanted) {
		let best = Math.abs(this.k - wanted);
		let from = null;
		if (wanted < best) {
			best = wanted;
			from = 0;
		}
		this.keyframes.forEach((_, k) => {
			if (Math.abs(k - wanted) < best) {
				best = Math.abs(k - wanted);
				from = k;
			}
		});
		if (from === null) return;
		if (from === 0) this.near.fill(0);
		else this.near.set(this.keyframes.get(from));
		this.k = from;
	}

	/* Add (sign 1) or subtract (-1) up to four rank-one terms in one pass. */
	add(first, count, sign) {
		const { near, left, right, height, width } = this;
		const r0 = first * width;
		const r1 = count > 1 ? r0 + width : r0;
		const r2 = count > 2 ? r1 + width : r0;
		const r3 = count > 3 ? r2 + width : r0;
		for (let i = 0; i < height; i++) {
			const at = first * height + i;
			const a = sign * left[at];
			const b = count > 1 ? sign * left[at + height] : 0;
			const c = count > 2 ? sign * left[at + 2 * height] : 0;
			const d = count > 3 ? sign * left[at + 3 * height] : 0;
			const row = i * width;
			for (let j = 0; j < width; j++) {
				near[row + j] +=
					a * right[r0 + j] + b * right[r1 + j] + c * right[r2 + j] + d * right[r3 + j];
			}
		}
		this.k += sign * count;
	}

	/* Store one more picture on the way, so that a jump stays short. False when all are. */
	prepare() {
		const next = KEYFRAME * (this.keyframes.size + 1);
		if (next > this.have || this.keyframes.size >= MOST_KEYFRAMES) return false;
		const at = this.k;
		this.moveTo(next);
		this.keyframes.set(next, this.near.slice());
		this.moveTo(at);
		return true;
	}
}
