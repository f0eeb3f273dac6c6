"""Who may do what: the person that acts, and what their role lets them do.

person            the person of the present work, and the check of their role
"""

from lora_engine.access.person import (
    LOCAL,
    ROLES,
    Forbidden,
    Person,
    Role,
    acting_as,
    need_role,
    person_now,
)

__all__ = [
    "LOCAL",
    "ROLES",
    "Forbidden",
    "Person",
    "Role",
    "acting_as",
    "need_role",
    "person_now",
]
