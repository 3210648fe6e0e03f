"""Lets a training on a simulated GPU read values as zeros give them, and notes where they decide.

Functions of torch that make values, hand them on or read them are replaced while the training runs.
Each calls torch's own function. A mode of torch would be simpler, and would change what is
measured: a `TorchDispatchMode` makes torch take the paths of tensor subclasses in its backward
passes, and a `TorchFunctionMode` switches off the fast paths of `nn.TransformerEncoder` and is
traced into by torch.compile. While torch.compile traces, the functions are torch's own.
"""

# ruff: noqa: SLF001 - torch has no public way to say what its compilers do with a function
from __future__ import annotations

import functools
import inspect
import sys
import types
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _device

from harness.held_memory import source_files
from harness.probe_tasks.zeros import decisions, known_values
from harness.probe_tasks.zeros import rules as zero_rules
from harness.probe_tasks.zeros import sizes as zero_sizes
from harness.probe_tasks.zeros.collectives import forgetting
from harness.probe_tasks.zeros.decisions import Decisions, is_users
from harness.probe_tasks.zeros.known_values import KnownValues
from harness.probe_tasks.zeros.rules import Rules
from harness.probe_tasks.zeros.sizes import SizeRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[Callable[..., Any], Any, Any], Any]

_POINTWISE = """
    isfinite isnan isinf isneginf isposinf isreal isclose isin signbit eq ne lt le gt ge not_equal
    less less_equal greater greater_equal logical_not logical_and logical_or logical_xor
    bitwise_not bitwise_and bitwise_or bitwise_xor exp exp2 cos cosh acos sigmoid softplus elu celu
    logsigmoid hardsigmoid rsqrt reciprocal log log2 log10 log1p clamp clamp_min clamp_max clip
    maximum minimum fmax fmin pow float_power masked_fill add sub subtract rsub threshold erfc
    __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __invert__ __and__ __or__ __xor__ __rand__ __ror__
    __rxor__ __add__ __radd__ __sub__ __rsub__ __pow__ __rpow__
    any all max min amax amin aminmax argmax argmin _is_all_true _is_any_true
"""
_PRESERVING = """
    abs absolute neg negative mul multiply div divide true_divide floor_divide remainder fmod sqrt
    square round ceil floor trunc sign relu tanh sin nan_to_num lerp expm1 erf positive
    __mul__ __rmul__ __truediv__ __rtruediv__ __floordiv__ __mod__ __neg__ __pos__ __abs__
    mean nanmean median nanmedian
"""
# The place of a value counts in these, or how many there are.
_WHOLE = """
    cumsum cumprod sort argsort topk triu tril index_select gather take take_along_dim diff diagonal
    diag roll flip scatter scatter_add scatter_reduce index_add index_fill index_copy searchsorted
    bucketize cdist prod
"""
_IN_PLACE = """
    add_ sub_ mul_ div_ clamp_ masked_fill_ logical_and_ logical_or_ scatter_ scatter_add_
    index_add_ index_fill_ index_copy_ __iadd__ __isub__ __imul__ __itruediv__ __iand__ __ior__
"""
_SUMS = "sum nansum count_nonzero"
_SOFTMAX = "softmax log_softmax"
_VIEWS = """
    view reshape expand expand_as view_as reshape_as squeeze unsqueeze transpose permute movedim
    swapaxes t flatten unflatten ravel clone detach contiguous narrow select chunk split unbind
    tensor_split broadcast_to repeat tile adjoint double float half bfloat16 int long short char
    byte bool type_as requires_grad_ alias detach_
"""
_JOINED = "cat concat concatenate stack hstack vstack"
_MOVED = "to cuda cpu type"
_MADE = "tensor as_tensor scalar_tensor asarray arange"
_FILLED = "ones ones_like full full_like new_ones new_full fill_"
_READ = "item tolist __float__ __complex__"
_DECIDE = "__bool__ __int__ __index__ is_nonzero"
_SHOWN = "__repr__ __format__ __str__"
# Those that no method or function of torch itself stands for. The others stay as they are: layers
# compare what they were given with `F.relu`.
_FUNCTIONAL = ("softplus", "elu", "celu", "logsigmoid", "hardsigmoid", "threshold", "one_hot")
# The modules whose functions run in the place of torch's.
_CALLED = (decisions, known_values, source_files, zero_rules, zero_sizes)
# The rules that read their arguments by name, too.
_BY_NAME = ("made", "filled", "sample", "normal")


@contextmanager
def consistent_zeros(*, ranks: bool = False) -> Iterator[Decisions]:
    """Read values as zeros give them inside the block; return the lines where they decide.

    ranks: whether this process is one of several, whose collectives bring values.
    """
    decided, known = Decisions(), KnownValues()
    # For `with torch.device`, torch notes once which functions make tensors: those of now.
    _device._device_constructors()
    undo: list[Callable[[], None]] = []
    with suppress(AttributeError):  # these are torch's own affairs
        _keep_from_compiling()
    try:
        for name, rule in _rules(decided, known).items():
            functional = (torch.nn.functional,) if name in _FUNCTIONAL else ()
            for owner in (torch, torch.Tensor, *functional):
                # Some of the names are types and modules of torch, too.
                if inspect.isroutine(getattr(owner, name, None)):
                    undo.append(_put(owner, name, rule))  # noqa: PERF401 - put back if one fails
        undo.append(_put_where_imported())
        with forgetting(known) if ranks else nullcontext():
            yield decided
    finally:
        for put_back in reversed(undo):
            put_back()


def _rules(decided: Decisions, known: KnownValues) -> dict[str, Rule]:
    """Return the rule of each function, by its name."""
    rules = Rules(known, decided)
    sizes = SizeRules(known, decided, rules)
    table: tuple[tuple[str, Rule], ...] = (
        (_POINTWISE, rules.pointwise),
        (_PRESERVING, rules.preserving),
        (_WHOLE, rules.whole),
        (_IN_PLACE, rules.in_place),
        ("_amp_update_scale_", rules.kept),
        (_SUMS, rules.sums),
        (_SOFTMAX, rules.softmax),
        (_VIEWS, rules.view),
        (_JOINED, rules.joined),
        (_MOVED, rules.moved),
        ("copy_", rules.copied),
        (_MADE, rules.made),
        (_FILLED, rules.filled),
        (_READ, rules.read),
        (_DECIDE, rules.decide),
        ("equal allclose", rules.compared),
        (_SHOWN, rules.shown),
        ("__getitem__", sizes.index),
        ("__setitem__", sizes.assign),
        ("masked_select", sizes.select),
        ("nonzero argwhere", sizes.find),
        ("where", sizes.where),
        ("unique unique_consecutive", sizes.unique),
        ("repeat_interleave", sizes.repeat),
        ("bincount one_hot", sizes.count),
        ("ctc_loss", sizes.align),
        ("multinomial", sizes.sample),
        ("normal", sizes.normal),
    )
    return {name: rule for names, rule in table for name in names.split()}


def _put(owner: Any, name: str, rule: Rule) -> Callable[[], None]:
    """Put a rule into the place of a function; return what takes it away."""
    # torch.Tensor inherits some of them, and then has none of its own to put back.
    own = vars(owner).get(name)
    function = getattr(owner, name)
    replaced = _following(function, rule)
    if owner is torch:
        _teach_jit(function, replaced)
    setattr(owner, name, _Method(function, replaced) if owner is torch.Tensor else replaced)
    return (
        functools.partial(delattr, owner, name)
        if own is None
        else functools.partial(setattr, owner, name, own)
    )


def _put_where_imported() -> Callable[[], None]:
    """Put the rules where the user's modules have `from torch import isfinite`; return the undo."""
    replaced = {
        id(value.__wrapped__): value
        for owner in (torch, torch.nn.functional)
        for value in vars(owner).values()
        if getattr(value, "__code__", None) is _CODE
    }
    found = [
        (module, name, value)
        for module in list(sys.modules.values())
        if is_users(getattr(module, "__file__", None))
        for name, value in list(vars(module).items())
        if id(value) in replaced
    ]
    for module, name, value in found:
        setattr(module, name, replaced[id(value)])

    def undo() -> None:
        for module, name, value in found:
            setattr(module, name, value)

    return undo


class _Method:
    """A method in the place of one of torch's, which counts as equal to it.

    Subclasses of tensors get the method that was called, and look it up in tables of torch's own.
    """

    def __init__(self, function: Any, replaced: Any) -> None:
        self._function = function
        self._replaced = replaced
        functools.update_wrapper(self, function)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else types.MethodType(self._replaced, instance)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._replaced(*arguments, **keywords)

    def __eq__(self, other: object) -> bool:
        return other is self or bool(other == self._function)

    def __hash__(self) -> int:
        return hash(self._function)


def _following(function: Any, rule: Rule) -> Any:
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if is_compiling() or not (arguments or rule.__name__ in _BY_NAME):
            return function(*arguments, **keywords)
        return rule(function, arguments, keywords)

    return call


# All functions that stand in the place of torch's have the same code.
_CODE = next(
    constant
    for constant in _following.__code__.co_consts
    if getattr(constant, "co_name", "") == "call"
)


def _keep_from_compiling() -> None:
    """Let torch.compile make no graphs of these rules, where they are called between its graphs."""
    frames: Any = torch._C._dynamo.eval_frame
    for code in _own_code():
        if hasattr(frames, "skip_code"):
            frames.skip_code(code)
        else:  # since torch 2.7
            skip = frames._FrameAction.SKIP
            strategy = frames._FrameExecStrategy(skip, skip)  # and of what it calls
            frames.set_code_exec_strategy(code, strategy)


def _own_code() -> Iterator[types.CodeType]:
    """Yield the code of all functions of the rules, those inside of others included."""
    for module in (*_CALLED, sys.modules[__name__]):
        members = list(vars(module).values())
        members += [
            one for member in members if isinstance(member, type) for one in vars(member).values()
        ]
        waiting = [member.__code__ for member in members if isinstance(member, types.FunctionType)]
        while waiting:
            code = waiting.pop()
            if code.co_filename == module.__file__:
                yield code
                waiting += [one for one in code.co_consts if isinstance(one, types.CodeType)]


def _teach_jit(function: Any, replaced: Any) -> None:
    """Let TorchScript compile calls of a replaced function as those of the function itself."""
    from torch.jit import _builtins  # noqa: PLC0415 - it is untyped

    builtins: Any = _builtins
    operator = builtins._find_builtin(function)
    if operator is not None:
        builtins._register_builtin(replaced, operator)
