"""Who may do what: the person that acts, how they prove who they are, and what they did.

person            the person of the present work, and the check of their role
people_file       who may sign in: names, roles and hashes of passwords
ways_in           by password, by token, by a proxy's header, or nobody is asked
back_off          how long to wait after failed tries
owners            whose a file or a folder is
typed_paths       the paths that a person may type
sessions          signed, expiring, ended by signing out
audit             the log of who did what
deeds             what changes something: asks for a role, and is written down
"""

from lora_engine.access.audit import record
from lora_engine.access.back_off import BackOff
from lora_engine.access.deeds import deed
from lora_engine.access.owners import forget_owner, is_mine, keep_owner, may_see, owner_of
from lora_engine.access.people_file import (
    PeopleFile,
    add_person,
    read_people,
    remove_person,
)
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
from lora_engine.access.sessions import Sessions
from lora_engine.access.typed_paths import allowed_roots, is_open, typed_path
from lora_engine.access.ways_in import PasswordWay, Proxies, ProxyWay, TokenWay, Way, way_in

__all__ = [
    "LOCAL",
    "ROLES",
    "BackOff",
    "Forbidden",
    "PasswordWay",
    "PeopleFile",
    "Person",
    "Proxies",
    "ProxyWay",
    "Role",
    "Sessions",
    "TokenWay",
    "Way",
    "acting_as",
    "add_person",
    "allowed_roots",
    "deed",
    "forget_owner",
    "is_mine",
    "is_open",
    "keep_owner",
    "may_see",
    "need_role",
    "owner_of",
    "person_now",
    "read_people",
    "record",
    "remove_person",
    "typed_path",
    "way_in",
]
