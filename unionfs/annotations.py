"""The words of `typing` for what only a type checker reads.

Every module postpones its annotations (PEP 563), so nothing asks these names for more than to be there; typing itself
takes a tenth of the time of a short command. Whoever wants what it does at run time imports it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # true for type checkers, who go by the name

if TYPE_CHECKING:
    from typing import IO as IO
    from typing import Any as Any
    from typing import AnyStr as AnyStr
    from typing import BinaryIO as BinaryIO
    from typing import Final as Final
    from typing import NewType as NewType
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import Self as Self
    from typing import TextIO as TextIO
    from typing import TypeVar as TypeVar
    from typing import cast as cast
else:
    IO = Any = AnyStr = BinaryIO = Final = NoReturn = Protocol = Self = TextIO = object

    def NewType(name, base):
        return base

    def TypeVar(name):
        return object

    def cast(kind, value):
        return value
