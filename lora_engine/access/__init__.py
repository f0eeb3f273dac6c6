"""Who may do what: the person that acts, how they prove who they are, and what they did.

person            the person of the present work, and the check of their role
people_file       who may sign in: names, roles and hashes of passwords
ways_in           by password, by token, by a proxy's header, or nobody is asked
back_off          how long to wait after failed tries
sessions          signed, expiring, ended by signing out
audit             the log of who did what
deeds             what changes something: asks for a role, and is written down
"""

from lora_engine.access.audit import record
from lora_engine.access.back_off import BackOff
from lora_engine.access.deeds import deed
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
    "deed",
    "need_role",
    "person_now",
    "read_people",
    "record",
    "remove_person",
    "way_in",
]
