import os
import time

import pytest
from hypothesis import given, settings, strategies as st

from lcm_video.reader import InvalidStoryboard, dump, load_text


def read(prompt="a fox", variables="{animal: fox}", **more):
    sections = "".join(f"{name}: {text}\n" for name, text in more.items())
    return load_text(f"vars: {variables}\n{sections}prompts:\n  0: {prompt}\n", name="film.yaml")


def refused(*args, **more):
    with pytest.raises(InvalidStoryboard) as error:
        read(*args, **more)
    return error.value


def test_a_reference_is_replaced_by_what_it_refers_to():
    board = read("a ${vars.animal}, ${vars.look}", "{animal: fox, look: '35mm ${vars.animal}'}")
    assert board.prompts["0"].text == "a fox, 35mm fox"
    assert board.vars == {"animal": "fox", "look": "35mm fox"}


def test_numbers_sections_and_list_items_may_be_references():
    board = read(
        variables="{many: '8', vae: v.safetensors}",
        sampling="{steps: '${vars.many}'}",
        model="{vae: '${vars.vae}', embeddings: [a, '${model.vae}']}",
        shots="{a: {sampling: {guidance: {0: 1, 8: 2}}}, b: {sampling: {guidance: '${shots.a.sampling.guidance}'}}}",
    )
    assert board.sampling.steps == 8
    assert board.model.embeddings == ("a", "v.safetensors")
    assert board.shots["b"].sampling.guidance == board.shots["a"].sampling.guidance


def test_relative_references_start_at_their_own_section():
    assert read(video="{width: 256, height: '${.width}'}").video.height == 256


@pytest.mark.parametrize(
    "prompt",
    [
        "${oc.env:LCM_CANARY}",
        "a ${oc.env:LCM_CANARY,x} b",
        "'${oc.env:${vars.animal}}'",
        "${oc.decode:LCM_CANARY}",
        "'${oc.create:{a: 1}}'",
        "${oc.select:vars.animal}",
        "${anything:else}",
    ],
)
def test_resolvers_are_refused_and_nothing_leaks(prompt, monkeypatch):
    monkeypatch.setenv("LCM_CANARY", "the-secret")
    error = refused(prompt)
    assert error.exit_code == 3
    assert "resolver" in str(error) or "reference within a reference" in str(error)
    assert "the-secret" not in repr(error.problems)
    assert os.environ["LCM_CANARY"] == "the-secret"


def test_a_resolver_in_an_override_or_a_variable_is_refused_too():
    with pytest.raises(InvalidStoryboard, match="resolver"):
        load_text("prompts: {0: a}", name="x", overrides=["negative=${oc.env:HOME}"])
    assert "resolver" in str(refused(variables="{x: '${oc.env:HOME}'}"))


@pytest.mark.parametrize("start", ["xx", ""])
def test_doubling_is_refused_before_it_grows(start):
    doubling = "".join(f", v{i + 1}: '${{vars.v{i}}}${{vars.v{i}}}'" for i in range(40))
    before = time.process_time()
    error = refused("${vars.v40}", f"{{v0: '{start}'{doubling}}}")
    assert "more than 4000000 characters" in str(error)
    assert time.process_time() - before < 2


def test_a_section_that_grows_is_refused_too():
    wide = ", ".join(f"k{i}: {'x' * 100}" for i in range(100))
    shots = "".join(f", s{i + 1}: {{prompts: '${{shots.s{i}}}', start: '${{shots.s{i}}}'}}" for i in range(25))
    messages = [problem.message for problem in refused(shots=f"{{s0: {{{wide}}}{shots}}}").problems]
    assert "with references written out this has more than 4000000 characters" in messages


def test_a_cycle_is_told_once_with_its_chain():
    error = refused("${vars.a}", "{a: 'x ${vars.b}', b: '${vars.c}', c: '${vars.a}'}")
    assert len(error.problems) == 1
    assert "this refers to itself: vars.a → vars.b → vars.c → vars.a" in str(error)
    assert "vars.a → vars → vars.a" in str(refused(variables="{a: '${vars}'}"))


@pytest.mark.parametrize("order", [1, -1])
def test_long_chains_are_refused_in_either_order(order):
    chain = [f"v{i + 1}: '${{vars.v{i}}}'" for i in range(2000)][::order]
    assert "more than 50 references" in str(refused(variables=f"{{v0: x, {', '.join(chain)}}}"))


def test_a_chain_of_forty_is_fine():
    chain = [f"v{i + 1}: '${{vars.v{i}}}'" for i in range(40)][::-1]
    assert read("${vars.v40}", f"{{v0: fox, {', '.join(chain)}}}").prompts["0"].text == "fox"


@pytest.mark.parametrize("prompt", ["'${red|blue}'", "'${2$$red|blue}'", "'${ oops'", "'${season=winter}'", "'${}'"])
def test_dynamic_prompts_are_told_how_to_escape(prompt):
    error = refused(prompt)
    assert r"to show ${ as it is, write \${ without quotes or in single quotes" in error.problems[0].remedy
    assert (error.problems[0].line, error.problems[0].path) == (3, "prompts.0")
    assert read(prompt.replace("${", "\\${")).prompts["0"].text == prompt.strip("'")


def test_an_unknown_reference_is_told_what_there_is():
    (problem,) = refused("a ${vars.anmal}").problems
    assert problem.message == "${vars.anmal} leads nowhere: there is no 'anmal' in vars"
    assert problem.remedy.startswith("did you mean 'animal'? known: animal; ")


def test_all_bad_references_and_all_other_faults_are_told_together():
    error = refused("${vars.x} ${vars.y}", "{a: '${oc.env:A}'}", video="{width: 5, fps: '${vars.no}'}", moddel="x")
    assert sorted(problem.path for problem in error.problems) == [
        "moddel",
        "prompts.0",
        "vars.a",
        "video.fps",
        "video.width",
    ]


def test_a_section_has_no_place_in_a_text():
    assert "${vars} is a whole section" in str(refused("a ${vars}"))


def test_too_many_references_are_refused():
    assert "more than 20000 references" in str(refused("${vars.animal} " * 20_001))


def test_deeply_nested_references_do_not_exhaust_the_stack():
    assert refused("'" + "${a" * 5000 + "}" * 5000 + "'").problems
    assert refused("'" + "\\\\${a" * 5000 + "}" * 5000 + "'").problems


def test_question_marks_are_a_prompt_like_any_other():
    assert read("???").prompts["0"].text == "???"
    assert read("a ${vars.animal}", negative="???").negative == "???"


@settings(deadline=None)
@given(st.text(st.sampled_from("$\\{}a. :'\"\n"), max_size=12))
def test_any_text_survives_being_dumped_and_read(text):
    board = read()
    written = dump(type(board)(prompts={"0": text}, vars={"a": text}))
    again = load_text(written, name="again")
    assert again.prompts["0"].text == text
    assert again.vars == {"a": text}
    assert dump(again) == written


@settings(deadline=None)
@given(st.text(st.sampled_from("${}\\avrs.:,|x[] "), max_size=20))
def test_any_reference_is_replaced_or_refused(text):
    from lcm_video.reader.guard import resolved
    from lcm_video.reader.problems import Mark, Source
    from lcm_video.reader.syntax import Node

    mark = Mark(Source("x", text))
    tree = Node({"vars": Node({"a": Node("fox", mark, mark)}, mark, mark), "x": Node(text, mark, mark)}, mark, mark)
    values, problems = resolved(tree)
    assert problems or "${" not in text or isinstance(values["x"], str | dict)
