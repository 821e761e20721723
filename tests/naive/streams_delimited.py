"""Records of a delimited text, from the definition: one character at a time, and a string for each record."""


def records(text, *, ended, delimiter, limit):
    """Begin, end, whether quotes are closed, of every whole record; and where the last one or blank line ends."""
    found, place = [], 0
    while place < len(text):
        line_end = text.find(b"\n", place) + 1
        line = text[place : line_end or len(text)]
        if not line.strip(b" \r\n"):
            if not line_end and not ended:
                break
            place += len(line)
            continue
        end, closed = _record(text, place, ended, delimiter, limit)
        if end is None:
            break
        found.append((place, end, closed))
        place = end
    return found, place


def _record(text, place, ended, delimiter, limit):
    opened = None
    i = place
    while i < len(text):
        c = text[i : i + 1]
        if opened is None:
            if c == b"\n":
                return i + 1, True
            if c == b'"' and (i == place or text[i - 1 : i] == delimiter):
                opened = i
        elif c == b'"':
            if i + 1 == len(text) and not ended:
                return None, True
            if text[i + 1 : i + 2] == b'"':
                i += 1
            else:
                opened = None
        elif i - opened >= limit:
            return _first_line(text, opened, i, ended), False
        i += 1
    if opened is not None:
        return (_first_line(text, opened, len(text), True), False) if ended else (None, True)
    return (len(text) if ended else None), True


def _first_line(text, opened, i, ended):
    """End of the line in which the quote opened; where it is longer than what was looked at, of that line still."""
    end = text.find(b"\n", opened)
    if end < 0:
        return len(text) if ended else None
    return end + 1
