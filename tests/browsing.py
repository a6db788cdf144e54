"""A headless Chromium for tests of pages: Debian's, with its chromedriver; nothing is fetched."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
DESKTOP, PHONE = 1200, 390  # CSS pixels of width
_PATIENCE = 10.0  # s, for a video to begin


def missing() -> str | None:
    """Return why there is no browser, None where there is one."""
    absent = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if not absent:
        return None
    return f"No {' and '.join(absent)}: apt-get install chromium chromium-driver."


@contextmanager
def chromium() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        "--autoplay-policy=no-user-gesture-required",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: Chrome, path: Path, width: int = DESKTOP) -> Chrome:
    """Open a page in a window so wide, and forget what the one before it complained of."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get(path.absolute().as_uri())
    return driver


def console_errors(driver: Chrome) -> list[str]:
    """Return what the page complained of since it was opened or last asked."""
    return [each["message"] for each in driver.get_log("browser") if each["level"] != "INFO"]


def plays(driver: Chrome, video: WebElement) -> bool:
    """Play a video, muted, and tell whether pictures of it are shown."""
    driver.execute_script(
        "arguments[0].scrollIntoView(); arguments[0].muted = true; arguments[0].play()"
        ".catch((error) => console.error(String(error)));",
        video,
    )
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        at, wide, failed = driver.execute_script(
            "const v = arguments[0]; return [v.currentTime, v.videoWidth, v.error !== null];", video
        )
        if failed:
            return False
        if at > 0 and wide > 0:
            driver.execute_script("arguments[0].pause()", video)
            return True
        time.sleep(0.05)
    return False


def column(table: WebElement, heading: str) -> list[str]:
    """Return what the rows of a table hold below a heading."""
    heads = [each.text.strip() for each in table.find_elements(By.CSS_SELECTOR, "thead th")]
    k = heads.index(heading) + 1
    cells = table.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({k})")
    return [cell.text.strip() for cell in cells]


def sort_by(driver: Chrome, table: WebElement, heading: str, *, key: bool = False) -> list[str]:
    """Click a heading of a table, or press Enter on it, and return its column as it then is."""
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    (head,) = (each for each in heads if each.text.strip() == heading)
    if key:
        head.send_keys(Keys.ENTER)
    else:
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
        head.click()
    return column(table, heading)


def sideways(driver: Chrome) -> int:
    """Return by how many CSS pixels the page is wider than its window."""
    page = "document.documentElement"  # a phone's innerWidth would grow with what overflows
    return driver.execute_script(f"return {page}.scrollWidth - {page}.clientWidth")


def make_video(path: Path) -> Path:
    """Write a second of a test picture, as H.264 or, in a webm, as VP9."""
    codec = {".mp4": "libx264", ".webm": "libvpx-vp9"}[path.suffix]
    drawn = ["-f", "lavfi", "-i", "testsrc=size=128x96:rate=25:duration=1"]
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *drawn]
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*ffmpeg, "-c:v", codec, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path
