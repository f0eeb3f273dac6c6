"""Under which key of a request's scope the login names who asks. Knows no login and no handler."""

PERSON_IN_SCOPE = "rankscope.person"
