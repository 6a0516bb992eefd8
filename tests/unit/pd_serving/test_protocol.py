# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests, text, and draws, without an engine."""

import pytest
import torch
from pd_serving.errors import RequestError
from pd_serving.protocol import Protocol
from pd_serving.sampling import Sampling, choose
from pd_serving.text import ByteTokenizer, FolderTokenizer, TextStream, tokenizer_for
from pd_serving.ticket import Limits

READ = Protocol("tiny", Limits(vocabulary=300, prompt=100, total=120), ByteTokenizer(300)).read


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ([], None, "JSON array"),
        ({}, "prompt", "not there"),
        ({"prompt": 5}, "prompt", "text or a list of token ids"),
        ({"prompt": []}, "prompt", "text or a list"),
        ({"prompt": ""}, "prompt", "0 tokens"),
        ({"prompt": ["a", "b"]}, "prompt", "2 prompts; send one in each request"),
        ({"prompt": [1, 300]}, "prompt", "has 300; an id is a whole number from 0 to 299"),
        ({"prompt": [True]}, "prompt", "True"),
        ({"prompt": "x" * 101}, "prompt", "101 tokens; it must have 1 to 100"),
        ({"prompt_tokens": 101}, "prompt_tokens", "1 to 100"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "is 0"),
        ({"prompt": "a", "max_tokens": 1.5}, "max_tokens", "1.5"),
        ({"prompt": "x" * 100, "max_tokens": 30}, "max_tokens", "together at most 120"),
        ({"prompt": "a", "model": "other"}, "model", "'tiny' is"),
        ({"prompt": "a", "n": 2}, "n", "only 1 is served"),
        ({"prompt": "a", "logprobs": 3}, "logprobs", "is 3"),
        ({"prompt": "a", "echo": True}, "echo", "only False is served"),
        ({"prompt": "a", "temperature": 2.5}, "temperature", "from 0 to 2"),
        ({"prompt": "a", "temperature": float("nan")}, "temperature", "nan"),
        ({"prompt": "a", "top_p": -1}, "top_p", "from 0 to 1"),
        ({"prompt": "a", "seed": "1"}, "seed", "'1'"),
        ({"prompt": "a", "stop": ["a"] * 5}, "stop", "at most 4"),
        ({"prompt": "a", "stop": [""]}, "stop", "a text"),
        ({"prompt": "a", "stream": 1}, "stream", "true or false"),
        ({"prompt": "a", "stream_options": {}}, "stream_options", "stream is not true"),
        ({"prompt": "a", "ignore_eos": "yes"}, "ignore_eos", "true or false"),
    ],
)
def test_a_bad_completion_is_told_which_field_is_wrong(body, param, says):
    with pytest.raises(RequestError) as error:
        READ(body, chat=False)
    assert error.value.param == param
    assert says in str(error.value)
    assert set(error.value.body()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        (None, "at least one message"),
        ([], "at least one message"),
        (["hello"], "role and content"),
        ([{"role": "user"}], "it must be text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "it must be text"),
    ],
)
def test_a_bad_chat_is_told_what_is_wrong(messages, says):
    with pytest.raises(RequestError, match=says) as error:
        READ({"messages": messages}, chat=True)
    assert error.value.param == "messages"


def test_what_is_not_said_is_as_openai_has_it():
    asked = READ({"prompt": "abc", "model": None, "n": None, "stop": None, "max_tokens": None}, chat=False)
    assert asked.ticket.prompt == [97, 98, 99]
    assert (asked.ticket.max_tokens, asked.ticket.sampling, asked.stream, asked.stop) == (16, None, False, ())
    chat = READ({"messages": [{"role": "user", "content": "hi"}]}, chat=True)
    assert chat.ticket.max_tokens == 120 - len(chat.ticket.prompt)


def test_a_prompt_is_text_or_ids_or_a_list_of_one():
    for prompt in ("abc", ["abc"], [97, 98, 99], [[97, 98, 99]]):
        assert READ({"prompt": prompt}, chat=False).ticket.prompt == [97, 98, 99]


def test_a_chat_of_parts_is_one_of_text():
    whole, parts = "What is it?", [{"type": "text", "text": "What "}, {"type": "text", "text": "is it?"}]
    first, second = (
        READ({"messages": [{"role": "user", "content": each}]}, chat=True).ticket.prompt for each in (whole, parts)
    )
    assert first == second
    assert bytes(first) == b"<|user|>\nWhat is it?\n<|assistant|>\n"


def test_a_vocabulary_too_small_for_bytes_says_so():
    with pytest.raises(RequestError, match="211 ids, too few"):
        ByteTokenizer(211).encode("5 €")
    assert ByteTokenizer(211).encode("plain") == list(b"plain")


def said(tokenizer, ids, stop=()):
    stream = TextStream(tokenizer, stop)
    pieces = [stream.add(each) for each in ids]
    return [*pieces, stream.end()], stream.stopped


def test_a_character_is_said_when_it_is_whole():
    pieces, _ = said(ByteTokenizer(300), [*"aé€".encode(), 299, 0xE2, 98])
    assert pieces == ["a", "", "é", "", "", "€", "<299>", "", "�b", ""]


def test_bytes_that_are_no_text_do_not_hold_up_the_rest():
    pieces, _ = said(ByteTokenizer(300), [0xFF] * 40)
    assert "".join(pieces) == "�" * 40
    assert pieces[:4] == ["", "", "", "����"]


def test_a_stop_string_ends_the_text_before_it_and_is_not_said_in_parts():
    pieces, stopped = said(ByteTokenizer(300), list(b"one two END three"), ("END", "never"))
    assert "".join(pieces) == "one two "
    assert stopped
    pieces, stopped = said(ByteTokenizer(300), list(b"the EN"), ("END",))
    assert ("".join(pieces), stopped) == ("the EN", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer of words and their beginnings, as transformers saves one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    pieces = ["<unk>", "<eos>", "▁hello", "▁wor", "ld", "▁", "!", "<|user|>"]
    made = Tokenizer(
        models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="<unk>", continuing_subword_prefix="")
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    path = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="<eos>").save_pretrained(path)
    return path


def test_a_folder_of_a_tokenizer_is_used_and_spaces_come_with_the_next_word(folder):
    tokenizer = tokenizer_for(None, folder, 300)
    assert isinstance(tokenizer, FolderTokenizer)
    ids = tokenizer.encode("hello world hello")
    pieces, _ = said(tokenizer, ids * 9)
    assert pieces[:4] == ["hello", " wor", "ld", " hello"]
    assert "".join(pieces) == " ".join(["hello world hello"] * 9)
    with pytest.raises(RequestError, match="no chat template"):
        tokenizer.chat([{"role": "user", "content": "hello"}])


def test_draws_keep_to_the_likeliest_and_to_their_shares():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = [choose(logits, [(Sampling(1.0, 0.8, 7), index)]).item() for index in range(2000)]
    assert set(drawn) == {0, 1}
    assert abs(drawn.count(0) / 2000 - 0.5 / 0.8) < 0.05
    cold = [choose(logits, [(Sampling(0.01, 1.0, 7), index)]).item() for index in range(50)]
    assert set(cold) == {0}


def test_a_draw_depends_on_its_seed_and_place_and_on_no_other_row():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    draws = [(Sampling(1.0, 1.0, 1), 4), None, (Sampling(0.7, 0.9, 2), 0)]
    together = choose(logits, draws).tolist()
    alone = [choose(logits[row : row + 1], [draw]).item() for row, draw in enumerate(draws)]
    assert together == alone
    assert together[1] == logits[1].argmax().item()
