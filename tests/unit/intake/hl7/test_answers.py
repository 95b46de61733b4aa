"""Another HL7 library reads our acknowledgments as we mean them."""

from hl7apy import parser

from intake.hl7.answers import Answer, make_acknowledgments
from intake.hl7.mapping import read_mapping
from intake.hl7.reading import read_frame
from intake.hl7.refusal import ErrorCode
from tests.support.mllp import make_order


def acknowledge(content, answer):
    (message,) = read_frame(content, read_mapping(""))
    (acknowledgment,) = make_acknowledgments(message.header, answer)
    return acknowledgment.decode()


def test_hl7apy_reads_our_acknowledgments():
    refused = Answer("AE", ErrorCode.REQUIRED_FIELD, "PID-3", "no id | in PID^3")
    message = parser.parse_message(acknowledge(make_order(control_id="7"), refused))
    assert message.msa.msa_1.to_er7() == "AE"
    assert message.msa.msa_2.to_er7() == "7"
    assert message.err.err_2.to_er7() == "PID^1^3"
    assert message.err.err_3.err_3_1.to_er7() == "101"
    assert message.err.err_8.to_er7() == "no id \\F\\ in PID\\S\\3"


def test_an_answer_has_the_separators_and_the_character_set_of_the_message():
    odd = make_order(rest="|" * 6 + "8859/1").decode().translate(str.maketrans("|^~\\&", "#@+?%"))
    answer = acknowledge(odd.encode(), Answer("AA"))
    assert answer.startswith("MSH#@+?%#NIGHTDRAFT#WARD#RIS#HOSPITAL#")
    assert answer.split("\r")[0].split("#")[17] == "8859/1"
