"""How the API writes moments, names and ids."""

import random
from datetime import datetime, timedelta

EPOCH = datetime(1970, 1, 1)
LOCAL_TIME_SECONDS = 8 * 3600


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return round(moment.timestamp() * 1000)


def to_text(ms: int) -> str:
    """ISO in UTC without a zone, in whole seconds: 1623160513000 is 2021-06-08T13:55:13."""
    return (EPOCH + timedelta(seconds=ms // 1000)).isoformat()


def backup_name(graph_name: str, start_ms: int, method: str) -> str:
    """A name as on the API's page: automatic ones carry local time, others UTC."""
    automatic = method == "auto"
    text = to_text(start_ms + LOCAL_TIME_SECONDS * 1000 * automatic)
    stamp = text.replace("-", "").replace(":", "").replace("T", "")
    return f"{graph_name}_{stamp}_auto" if automatic else f"{graph_name}-{stamp}"


def random_id(chance: random.Random) -> str:
    """A UUID of version 4."""
    text = f"{chance.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
