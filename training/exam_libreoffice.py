"""Pages of the exam set by LibreOffice Writer: flat OpenDocument texts, turned into PDFs without a window."""

import base64
import html
import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from training.exam_images import draw_figure
from training.exam_sources import HEADING, IMAGE, TABLE, TEXT, TITLE, Look, Page, Part

PACKAGES = ("libreoffice-writer-nogui",)
FAMILIES = ("Open Sans", "Caladea", "Cantarell", "TeX Gyre Pagella", "Gentium Book Basic", "EB Garamond", "Fira Code")
MAX_SECONDS = 600
SETS_FORMULAS = False  # its formulas are a program of their own
MAX_SHARE = 20  # letters that count at most for a column's share of its table's width
NAMESPACES = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in {
        "office": "office",
        "style": "style",
        "text": "text",
        "table": "table",
        "draw": "drawing",
        "fo": "xsl-fo-compatible",
        "svg": "svg-compatible",
    }.items()
)


def render(pages: Sequence[Page], folder: Path) -> list[tuple[Path, int]]:
    """One PDF for each page, written to `folder`; the PDF and the sheet, always the first, of every page, in order.

    Raises SystemExit if LibreOffice fails.
    """
    sources = [folder / f"libreoffice-{i}.fodt" for i in range(len(pages))]
    for page, source in zip(pages, sources, strict=True):
        source.write_text(_document(page))
    profile = folder / "libreoffice.profile"
    command = ["soffice", f"-env:UserInstallation={profile.resolve().as_uri()}", "--headless", "--convert-to", "pdf"]
    command += ["--outdir", str(folder), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    pdfs = [source.with_suffix(".pdf") for source in sources]
    if missing := [pdf.name for pdf in pdfs if not pdf.exists()]:
        raise SystemExit(f"LibreOffice did not make {', '.join(missing)}: {done.stderr[-500:]}")
    return [(pdf, 0) for pdf in pdfs]


def _document(page: Page) -> str:
    look = page.look
    wide = 0
    if look.columns > 1:
        wide = len([part for part in page.body[:2] if part.label == TITLE or part.alone])
    parts = [_part(part, look, i) for i, part in enumerate(page.body)]
    if page.footnote:
        at = next(
            i for i, part in enumerate(page.body) if part.label == TEXT and not part.alone and part.ordered is None
        )
        parts[at] = parts[at].replace("</text:p>", f"{_note(page.footnote)}</text:p>")
    flow = "".join(parts[wide:])
    if look.columns > 1:
        flow = f"<text:section text:style-name='columns' text:name='flow'>{flow}</text:section>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<office:document {NAMESPACES} office:version="1.2" office:mimetype="application/vnd.oasis.opendocument.text">
<office:styles>{_styles(look)}</office:styles>
<office:automatic-styles>{_layout(page)}{_lists()}{_tables(look)}</office:automatic-styles>
<office:master-styles><style:master-page style:name="Standard" style:page-layout-name="page">
{_running(page)}</style:master-page></office:master-styles>
<office:body><office:text>{"".join(parts[:wide])}{flow}</office:text></office:body></office:document>"""


def _note(part: Part) -> str:
    return (
        "<text:note text:note-class='footnote'><text:note-citation text:label=' '> </text:note-citation>"
        f"<text:note-body><text:p text:style-name='note'>{html.escape(part.text)}</text:p></text:note-body></text:note>"
    )


def _running(page: Page) -> str:
    """Header, footer and page number."""
    text = ""
    if page.header:
        header = f"<text:p text:style-name='header'>{html.escape(page.header.text)}</text:p>"
        text += f"<style:header>{header}</style:header>"
    number = page.number.text if page.number else ""
    if page.footer:
        footer = f"{html.escape(page.footer.text)}<text:tab/>{number}"
        text += f"<style:footer><text:p text:style-name='footer'>{footer}</text:p></style:footer>"
    elif number:
        text += f"<style:footer><text:p text:style-name='number'>{number}</text:p></style:footer>"
    return text


def _paragraph(name: str, paragraph: str, text: str) -> str:
    return (
        f"<style:style style:name='{name}' style:family='paragraph'><style:paragraph-properties {paragraph}/>"
        f"<style:text-properties {text}/></style:style>"
    )


def _styles(look: Look) -> str:
    font = f"style:font-name='{look.family}' fo:font-family=\"'{look.family}'\" fo:language='none' fo:country='none'"
    head = f"fo:font-family=\"'{look.head_family}'\" fo:font-weight='bold'"
    pitch = f"fo:line-height='{look.leading * look.size:.1f}pt'"
    adjust = "fo:text-align='justify'" if look.justified else "fo:text-align='start'"
    near = f"fo:text-indent='{look.size * 1.6:.0f}pt'" if look.indented else "fo:margin-bottom='7pt'"
    body, small = f"{font} fo:font-size='{look.size}pt'", f"{font} fo:font-size='{look.size - 1.5}pt'"
    styles = [
        _paragraph("text", f"{adjust} {near} {pitch}", body),
        _paragraph("item", f"fo:text-align='start' {pitch}", body),
        _paragraph("cell", "fo:text-align='start'", body),
        _paragraph("caption", "fo:text-align='center' fo:margin-top='4pt' fo:margin-bottom='7pt'", small),
        _paragraph("figure", "fo:text-align='center' fo:margin-top='6pt' fo:keep-with-next='always'", body),
        _paragraph("note", "fo:text-align='start'", small),
        _paragraph("number", "fo:text-align='center'", small),
        _paragraph(
            "header", "fo:border-bottom='0.7pt solid #000000' fo:padding-bottom='3pt'" if look.rule else "", small
        ),
    ]
    styles += [
        _paragraph(f"alone-{align}", f"fo:text-align='{side}' fo:margin-bottom='12pt'", body)
        for align, side in (("left", "start"), ("center", "center"), ("right", "end"))
    ]
    for level, share in ((1, 1.8), (2, 1.3), (3, 1.05)):
        align = look.head_align if level == 1 else "left"
        place = (
            f"fo:text-align='{'center' if align == 'center' else 'start'}' fo:margin-top='9pt' fo:margin-bottom='5pt'"
        )
        size = f"fo:font-size='{look.size * share:.1f}pt'"
        styles.append(_paragraph(f"head-{level}", f"{place} fo:keep-with-next='always'", f"{head} {size}"))
    right = f"<style:tab-stop style:position='{look.text_width:.1f}pt' style:type='right'/>"
    styles.append(
        "<style:style style:name='footer' style:family='paragraph'><style:paragraph-properties>"
        f"<style:tab-stops>{right}</style:tab-stops></style:paragraph-properties>"
        f"<style:text-properties {small}/></style:style>"
    )
    return "".join(styles)


def _layout(page: Page) -> str:
    """Styles of the page, of its columns and of figures."""
    look = page.look
    edge = f"fo:page-width='{look.paper[0]}pt' fo:page-height='{look.paper[1]}pt' fo:margin='{look.margin:.0f}pt'"
    zone = "<style:header-footer-properties fo:min-height='14pt' fo:margin-{0}='10pt'/>"
    header = f"<style:header-style>{zone.format('bottom')}</style:header-style>" if page.header else ""
    footer = f"<style:footer-style>{zone.format('top')}</style:footer-style>" if page.footer or page.number else ""
    columns = f"<style:columns fo:column-count='{look.columns}' fo:column-gap='{look.gutter}pt'/>"
    return (
        f"<style:page-layout style:name='page'><style:page-layout-properties {edge}/>"
        f"{header}{footer}</style:page-layout>"
        + _style("columns", "section", "text:dont-balance-text-columns='true'", columns)
        + _style("inline", "graphic", "style:vertical-pos='top' style:vertical-rel='baseline'")
    )


def _style(name: str, family: str, properties: str, inner: str = "") -> str:
    return (
        f"<style:style style:name='{name}' style:family='{family}'>"
        f"<style:{family}-properties {properties}>{inner}</style:{family}-properties></style:style>"
    )


def _lists() -> str:
    place = (
        "<style:list-level-properties text:list-level-position-and-space-mode='label-alignment'>"
        "<style:list-level-label-alignment text:label-followed-by='listtab' text:list-tab-stop-position='18pt' "
        "fo:text-indent='-16pt' fo:margin-left='18pt'/></style:list-level-properties>"
    )
    bullets = "<text:list-level-style-bullet text:level='1' text:bullet-char='\u2022'>"
    numbers = "<text:list-level-style-number text:level='1' style:num-format='1' style:num-suffix='.'>"
    return (
        f"<text:list-style style:name='bullets'>{bullets}{place}</text:list-level-style-bullet></text:list-style>"
        f"<text:list-style style:name='numbers'>{numbers}{place}</text:list-level-style-number></text:list-style>"
    )


def _tables(look: Look) -> str:
    """Styles of tables, of columns by their share of the width, and of cells by their rules."""
    place = f"style:width='{look.column_width * 0.94:.0f}pt' table:align='center' fo:margin-bottom='7pt'"
    rules = {"all": "fo:border='0.7pt solid #000000'", "rows": "fo:border-bottom='0.7pt solid #000000'", "none": ""}
    return "".join(
        [
            _style("table", "table", f"{place} style:may-break-between-rows='false'"),
            *(_style(f"cell-{name}", "table-cell", f"fo:padding='3pt' {rule}") for name, rule in rules.items()),
            *(
                _style(f"column-{share}", "table-column", f"style:rel-column-width='{share}*'")
                for share in range(1, MAX_SHARE + 1)
            ),
        ]
    )


def _part(part: Part, look: Look, number: int) -> str:
    text = html.escape(part.text)
    if part.label in (TITLE, HEADING):
        return f"<text:h text:style-name='head-{part.level}' text:outline-level='{part.level}'>{text}</text:h>"
    if part.label == IMAGE:
        return _figure(part, look)
    if part.label == TABLE:
        return _table(part, number)
    if part.ordered is not None:
        items = "".join(
            f"<text:list-item><text:p text:style-name='item'>{item}</text:p></text:list-item>"
            for item in text.split("\n")
        )
        return f"<text:list text:style-name='{'numbers' if part.ordered else 'bullets'}'>{items}</text:list>"
    if part.alone:
        lines = text.replace("\n", "<text:line-break/>")
        return f"<text:p text:style-name='alone-{part.align}'>{lines}</text:p>"
    return f"<text:p text:style-name='{'caption' if part.label == 'figure_title' else 'text'}'>{text}</text:p>"


def _figure(part: Part, look: Look) -> str:
    data = io.BytesIO()
    draw_figure(part.seed, part.aspect).save(data, "PNG")
    wide = look.column_width * 0.85
    return (
        "<text:p text:style-name='figure'><draw:frame draw:style-name='inline' text:anchor-type='as-char' "
        f"svg:width='{wide:.0f}pt' svg:height='{wide * part.aspect:.0f}pt'><draw:image><office:binary-data>"
        f"{base64.b64encode(data.getvalue()).decode()}</office:binary-data></draw:image></draw:frame></text:p>"
    )


def _table(part: Part, number: int) -> str:
    rows = ""
    for i, cells in enumerate(part.cells):
        style = {"all": "all", "rows": "rows", "head": "none" if i else "rows"}[part.ruled]
        rows += "<table:table-row>" + "".join(
            f"<table:table-cell table:style-name='cell-{style}'><text:p text:style-name='cell'>{html.escape(cell)}"
            "</text:p></table:table-cell>"
            for cell in cells
        )
        rows += "</table:table-row>"
    longest = (max(map(len, column)) for column in zip(*part.cells, strict=True))
    columns = "".join(f"<table:table-column table:style-name='column-{min(MAX_SHARE, size + 2)}'/>" for size in longest)
    return f"<table:table table:name='t{number}' table:style-name='table'>{columns}{rows}</table:table>"
