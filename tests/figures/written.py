"""What is written in a figure."""

from matplotlib.text import Text

from mulnb.figures import plotting


def texts(figure: plotting.Picture) -> list[Text]:
    """Every text that can be seen."""
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def words(figure: plotting.Picture) -> str:
    return " ".join(" ".join(text.get_text() for text in texts(figure)).split())
