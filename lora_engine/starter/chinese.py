"""Chinese questions and answers for the `chinese` dataset: our own sentences, from tables.

They are for a base that knows Chinese. The starter's tokenizer works on bytes and loses no
character, but the starter met no such byte in its training: the vectors of all of them are one
(a test holds it), so no adapter of its layers can tell two characters apart. Every fact is asked
in several ways, one of which is held out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

COLOURS = {
    "天空": "蓝色", "草": "绿色", "雪": "白色", "煤": "黑色", "香蕉": "黄色", "番茄": "红色",
    "橙子": "橙色", "牛奶": "白色", "树叶": "绿色", "太阳": "黄色", "乌鸦": "黑色", "大海": "蓝色",
}  # fmt: skip
COLOUR_WAYS = (
    "{x}是什么颜色？", "{x}的颜色是什么？", "请问{x}是什么颜色？", "告诉我{x}的颜色。",
    "你知道{x}是什么颜色吗？", "{x}什么颜色？", "说出{x}的颜色。",
)  # fmt: skip
DAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
DAY_WAYS = (
    "{x}的后一天是星期几？", "{x}之后是星期几？", "{x}过后是哪一天？", "今天是{x}，明天是星期几？",
    "如果今天是{x}，明天呢？", "告诉我{x}的后一天。", "请问{x}之后是哪一天？",
)  # fmt: skip
OPPOSITES = {
    "大": "小", "高": "低", "长": "短", "快": "慢", "冷": "热", "新": "旧", "多": "少", "远": "近",
    "黑": "白", "上": "下", "开": "关", "轻": "重",
}  # fmt: skip
OPPOSITE_WAYS = (
    "“{x}”的反义词是什么？", "什么是“{x}”的反义词？", "和“{x}”相反的词是什么？",
    "请说出“{x}”的反义词。", "“{x}”的反面是什么？", "告诉我“{x}”的反义词。",
    "你知道“{x}”的反义词吗？",
)  # fmt: skip
CAPITALS = {
    "中国": "北京", "日本": "东京", "法国": "巴黎", "英国": "伦敦", "德国": "柏林",
    "意大利": "罗马", "西班牙": "马德里", "俄罗斯": "莫斯科", "埃及": "开罗", "韩国": "首尔",
}  # fmt: skip
CAPITAL_WAYS = (
    "{x}的首都是哪里？", "{x}的首都是什么？", "哪个城市是{x}的首都？", "请问{x}的首都在哪里？",
    "告诉我{x}的首都。", "你知道{x}的首都吗？", "说出{x}的首都。",
)  # fmt: skip
LEGS = {
    "狗": "四", "猫": "四", "牛": "四", "鸡": "两", "鸭子": "两", "蜘蛛": "八", "蚂蚁": "六",
    "马": "四", "鸟": "两", "蜜蜂": "六", "羊": "四", "人": "两",
}  # fmt: skip
LEG_WAYS = (
    "{x}有几条腿？", "{x}一共有几条腿？", "{x}有多少条腿？", "请问{x}有几条腿？",
    "告诉我{x}有几条腿。", "你知道{x}有几条腿吗？", "数一数，{x}有几条腿？",
)  # fmt: skip


@dataclass(frozen=True)
class ChineseFact:
    """One fact: its answer, the word that must stand in it, and the ways to ask."""

    answer: str
    keyword: str
    questions: tuple[str, ...]


def facts() -> Iterator[ChineseFact]:
    """All facts, in the order of the tables."""
    yield from _of(COLOURS, COLOUR_WAYS, "{x}是{y}的。")
    yield from _of(dict(zip(DAYS, (*DAYS[1:], DAYS[0]), strict=True)), DAY_WAYS, "{x}之后是{y}。")
    yield from _of(OPPOSITES, OPPOSITE_WAYS, "“{x}”的反义词是“{y}”。")
    yield from _of(CAPITALS, CAPITAL_WAYS, "{x}的首都是{y}。")
    yield from _of(LEGS, LEG_WAYS, "{x}有{y}条腿。")


def _of(table: dict[str, str], ways: tuple[str, ...], answer: str) -> Iterator[ChineseFact]:
    for x, y in table.items():
        questions = tuple(way.format(x=x) for way in ways)
        yield ChineseFact(answer.format(x=x, y=y), y, questions)
