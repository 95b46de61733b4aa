"""The page on FHIR says what is served."""

from tools.fhir_page import BEGIN, END, PAGE, with_served


def test_the_page_is_up_to_date():
    page = PAGE.read_text()
    assert page == with_served(page), "run `python -m tools.fhir_page`"
    part = page.partition(BEGIN)[2].partition(END)[0]
    assert "| ServiceRequest | create, read, update |" in part


def test_an_old_page_is_seen():
    page = f"before\n{BEGIN}\nout of date\n{END}\nafter\n"
    renewed = with_served(page)
    assert "out of date" not in renewed
    assert renewed.startswith("before\n")
    assert renewed.endswith(f"{END}\nafter\n")
