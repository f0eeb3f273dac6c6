/* Who has signed in, at the bar's end, and the way out. Signing in keeps the name in a cookie. */

import { tr } from "../shared/language.js";

function signedIn() {
	const { port } = window.location;
	const name = port ? `rankscope_person_${port}` : "rankscope_person";
	const found = document.cookie.split("; ").find((one) => one.startsWith(`${name}=`));
	return found && decodeURIComponent(found.slice(name.length + 1));
}

export function whoIsHere(element) {
	const name = signedIn();
	if (!name) return;
	const form = document.createElement("form");
	form.className = "rs-person";
	form.method = "post";
	form.action = `${document.documentElement.lang.startsWith("zh") ? "/zh" : ""}/sign-out`;
	const who = document.createElement("span");
	who.textContent = name;
	who.title = tr("Signed in as {name}", { name });
	const out = document.createElement("button");
	out.type = "submit";
	out.textContent = tr("Sign out");
	form.append(who, out);
	element.append(form);
}
