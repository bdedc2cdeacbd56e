"""A photo through the server: how it was read is told, what a user knows of it makes it read again."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")

from serve_door import Door, put

from einthoven.paper import render
from einthoven.synth import simulate


def test_a_page_is_read_again_with_what_is_known_of_it(tmp_path: Path) -> None:
    record = simulate("lbbb", rate=70, seed=3).record
    image, _ = render.render(record, layout="3x4+1", dpi=150)
    wide = np.full((image.shape[0] + 160, image.shape[1] + 240, 3), 70, np.uint8)  # on a dark table
    wide[60 : 60 + image.shape[0], 100 : 100 + image.shape[1]] = image
    cv2.imwrite(str(tmp_path / "photo.png"), wide[..., ::-1])
    door = Door(tmp_path / "data")
    with door.client:
        client = door.sign_in()
        (told,) = client.post("/api/ecgs", files={"files": ("photo.png", (tmp_path / "photo.png").read_bytes())}).json()
        place = f"/api/ecgs/{told['id']}/paper"
        first = client.get(place).json()
        assert first["layout"] == "3x4+1" and first["speed_mm_s"] == pytest.approx(25, rel=0.01) and first["known"] == {}
        assert first["picture_px"] == [wide.shape[1], wide.shape[0]]
        assert client.get(f"/api/ecgs/{told['id']}/sheet").content.startswith(b"\xff\xd8\xff")
        rate = client.get(f"/api/ecgs/{told['id']}/report").json()["measurements"]["rate_bpm"]["value"]
        assert rate == pytest.approx(70, abs=1)

        y, x, h, w = 60, 100, image.shape[0], image.shape[1]
        corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
        second = client.put(place, json={"speed": 50, "layout": "3x4+1", "corners": corners}).json()
        assert second["basis"]["speed"] == "given" and second["speed_mm_s"] == 50 and second["known"]["speed"] == 50
        report = client.get(f"/api/ecgs/{told['id']}/report").json()
        assert report["measurements"]["rate_bpm"]["value"] == pytest.approx(140, abs=3)  # at twice the speed
        outline = np.array(second["outline_px"])
        assert np.abs(outline - np.array(corners)).max() < 12

        assert client.put(place, json={"layout": "nine"}).status_code == 422
        assert client.put(place, json={"corners": [[0, 0]] * 3}).status_code == 422
        assert client.put(place, json={}, headers=door.token("read")).status_code == 403
        again = client.put(place, json={}).json()
        assert again["known"] == {} and again["speed_mm_s"] == first["speed_mm_s"]
        mine = put(client, record, tmp_path)
        assert client.get(f"/api/ecgs/{mine}/paper").status_code == 404


def test_an_explanation_comes_as_numbers(tmp_path: Path) -> None:
    from serve_door import unpacked

    from einthoven.explain import explain

    record = simulate("lbbb", rate=70, seed=3, duration=5.0, fs=250.0).record
    door = Door(tmp_path / "data")
    with door.client:
        client = door.sign_in()
        mine = put(client, record, tmp_path)
        head, rows = unpacked(client.get(f"/api/ecgs/{mine}/explain", params={"label": "CD"}).content)
        made = explain(record, None, "CD")
        assert (
            head["label"] == "CD"
            and head["score"] == pytest.approx(made.score, abs=1e-3)
            and tuple(head["leads"]) == made.leads
        )
        assert np.abs(rows - made.heat).max() < 1e-3 and head["shares"]["waves"] == list(made.shares.waves)
        assert client.get(f"/api/ecgs/{mine}/explain", params={"label": "none"}).status_code == 422
        assert client.get(f"/api/ecgs/{mine}/explain", params={"method": "tea leaves"}).status_code == 422
