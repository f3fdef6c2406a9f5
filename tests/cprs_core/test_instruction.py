"""Instructions: the rendered format, tags out of plain words, presets, and everything that is no instruction."""

import pytest

from cprs_core.errors import InputError, InstructionError
from cprs_core.instruction import PRESETS, Control, Instruction

START, END = Control("<|im_start|>"), Control("<|im_end|>")


def test_render_is_the_format_of_the_paper():
    pieces = Instruction("Do it.").render("Why?")
    text = "".join(piece.token if isinstance(piece, Control) else piece for piece in pieces)
    assert text == "<|im_start|>system\nDo it.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>context\n"
    assert [piece for piece in pieces if isinstance(piece, Control)] == [START, END, START, END, START]


def test_control_tokens_in_prompt_and_query_stay_text():
    pieces = Instruction("a<|im_end|>b").render("c<|im_start|>d")
    assert "system\na<|im_end|>b" in pieces and "user\nc<|im_start|>d" in pieces
    assert sum(isinstance(piece, Control) for piece in pieces) == 5


@pytest.mark.parametrize("query", ["", " \n\t\u3000", None, 5, b"x", ["q"], "a\ud800"])
def test_a_bad_query_is_an_input_error(query):
    with pytest.raises(InputError, match="query"):
        Instruction.sentences().render(query)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("Keep money.\n## tagging rule:\n- tag the sums with 'sum'", ("sum",)),
        ('Tag drugs with "drug" and doses with "dose".', ("drug", "dose")),
        ("tag x as `thing`, y as 'thing'", ("thing",)),
        ("抽取句子。\n- 用“事实”标注支持句", ("事实",)),
        ("标为「人名」", ("人名",)),
        ("Tag it with ‘curly’.", ("curly",)),
    ],
)
def test_from_text_finds_the_tags_that_it_names(text, tags):
    instruction = Instruction.from_text(text)
    assert instruction.tags == tags
    assert instruction.prompt == text


@pytest.mark.parametrize("text", ["Keep what is said about money.", "What's Ann's 'role' here?", "keep a\nand b\n"])
def test_from_text_adds_a_rule_where_there_is_none(text):
    instruction = Instruction.from_text(text)
    assert instruction.tags == ("fact",)
    assert instruction.prompt.startswith(text.rstrip())
    assert instruction.prompt.endswith("## tagging rule:\n- tag the matching text with 'fact'")
    assert Instruction.from_text(instruction.prompt).tags == ("fact",)


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_names_its_tag_in_its_prompt(name):
    preset = Instruction.preset(name)
    assert preset == PRESETS[name]()
    assert Instruction.from_text(preset.prompt).tags == preset.tags
    assert preset.prompt.startswith("You are an expert for information extraction, your task is to ")


def test_entities_take_a_kind():
    assert "mentions of the drugs that" in Instruction.preset("entities:drugs").prompt
    assert Instruction.preset("entities:drugs") == Instruction.entities("drugs") != Instruction.entities()


@pytest.mark.parametrize("name", ["", "nothing", "Sentences", "sentences:x", None, 3])
def test_an_unknown_preset_is_an_error_that_lists_them(name):
    with pytest.raises(InstructionError, match="sentences, answer, paragraphs, entities, needles, chains, code"):
        Instruction.preset(name)


def test_of_takes_all_forms():
    own = Instruction("x", ("y",), "word")
    assert Instruction.of(own) is own
    assert Instruction.of(None) == Instruction.sentences()
    assert Instruction.of("Keep it.") == Instruction.from_text("Keep it.")


@pytest.mark.parametrize("value", [3, b"x", ["Keep it."], {"prompt": "x"}])
def test_of_refuses_the_rest(value):
    with pytest.raises(InputError, match="an instruction is a string or an Instruction"):
        Instruction.of(value)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": None},
        {"prompt": "half a pair: \ud83d"},
        {"tags": ()},
        {"tags": ("",)},
        {"tags": ("a", " ")},
        {"tags": ("a", "a")},
        {"tags": ("a", 3)},
        {"tags": ("\ud83d",)},
        {"tags": "fact"},
        {"tags": None},
        {"unit": "page"},
        {"unit": None},
    ],
)
def test_a_bad_instruction_is_an_error(fields):
    with pytest.raises(InputError):
        Instruction(**{"prompt": "Keep it.", **fields})


@pytest.mark.parametrize("text", ["", "  \n", None, 5])
def test_from_text_refuses_nothing(text):
    with pytest.raises(InstructionError, match="instruction is empty"):
        Instruction.from_text(text)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("Keep sentences that begin with 'However'.", ("fact",)),
        ("Find needles.\n## tagging rule:\n- tag the needles with 'needle'", ("needle",)),
        ("Two kinds.\n- Tag names as \"name\"\n- tag dates with 'date'", ("name", "date")),
        ("请抽取句子。\n- 用“事实”标注支持句", ("事实",)),
        ("请抽取句子。\n- 把支持句标注为“事实”", ("事实",)),
    ],
)
def test_only_words_that_are_called_tags_are_tags(text: str, tags: tuple[str, ...]) -> None:
    assert Instruction.from_text(text).tags == tags
