import logging
import socket
import struct
import threading
import wave

import numpy as np
import pytest
from small_video import picture

from co2net_runtime.errors import InputError
from co2net_runtime.video import decode
from co2net_runtime.video.decode import VideoReader


def read(path):
    with VideoReader(path) as video:
        frames = list(video)
        return [frame.time for frame in frames], [frame.read() for frame in frames], video.report


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mkv", "ffv1", "yuv420p10le"),
        ("a.mkv", "ffv1", "yuv444p"),
    ],
)
def test_pixels_and_times_of_every_format(render, name, codec, pix_fmt):
    times, images, report = read(render(name, 20, codec=codec, pix_fmt=pix_fmt))
    np.testing.assert_allclose(times, np.arange(20) / 25, atol=1e-3)
    assert report.frames == 20
    assert not str(report)
    for index in (0, 11, 19):
        expected = picture(index).astype(float)
        if pix_fmt == "gray":
            assert np.ptp(images[index], axis=-1).max() <= 1
            expected = expected @ [[0.299] * 3, [0.587] * 3, [0.114] * 3]
        assert np.abs(images[index] - expected).mean() < 12
        assert images[index].shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(17, 33), (16, 16)])
def test_odd_and_small_sizes(render, size):
    path = render("odd.mkv", 3, codec="ffv1", pix_fmt="yuv444p", size=size)
    assert read(path)[1][0].shape == (*size, 3)


def test_8k(render):
    def flat(_index, *size):
        return np.full((*size, 3), 90, np.uint8)

    _, images, _ = read(render("8k.mp4", 1, size=(4320, 7680), make=flat))
    assert images[0].shape == (4320, 7680, 3)
    assert np.abs(images[0][::99, ::99] - 90.0).max() < 6


def test_frames_come_in_the_order_of_display(render):
    path = render(frames=30, options={"bf": "3", "g": "30"})
    times, images, _ = read(path)
    assert times == sorted(times)
    errors = [np.abs(image - picture(index).astype(float)).mean() for index, image in
              enumerate(images)]  # fmt: skip
    assert max(errors) < 12


def test_variable_frame_rate(render):
    stamps = [0, 40, 70, 200, 1000, 1010]
    times, _, _ = read(render("vfr.mkv", times=stamps))
    np.testing.assert_allclose(times, np.array(stamps) / 1000, atol=2e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(render, degrees):
    path = render(frames=2, size=(48, 64))
    content = bytearray(path.read_bytes())
    # the display matrix stands at the end of the track header, before width and height
    place = content.index(b"tkhd") + 4 + 4 + 20 + 16
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    image = read(path)[1][0]
    # a matrix of 90 degrees means: turn clockwise for display
    expected = np.rot90(picture(0), -degrees // 90)
    assert image.shape == expected.shape
    assert np.abs(image - expected.astype(float)).mean() < 12


def test_damage_in_the_middle_is_counted_said_and_survived(render, caplog):
    path = render("cut.avi", 60, codec="mpeg4", options={"g": "5"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _, images, report = read(path)
    assert 40 < len(images) <= 60
    assert report.damaged > 0
    assert "packets are damaged" in caplog.text


def test_a_truncated_file_gives_what_is_there(render):
    path = render("cut.mkv", 60, codec="mpeg4")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    times, _, _ = read(path)
    assert 10 < len(times) < 60


@pytest.mark.parametrize("lost", [0.7, 0.1])
def test_a_truncated_mp4_has_lost_its_index(render, lost):
    path = render()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * (1 - lost))])
    with pytest.raises(InputError, match=r"clip\.mp4: not a video, or damaged or truncated"):
        read(path)


def test_more_damage_than_video_is_refused(render):
    path = render("noise.avi", 60, codec="mpeg4")
    content = bytearray(path.read_bytes())
    start = content.index(b"movi") + 4
    noise = np.random.default_rng(0).integers(0, 256, len(content), dtype=np.uint8)
    place = start
    while content[place : place + 4] == b"00dc":
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        content[place + 8 : place + 8 + size] = noise[:size].tobytes()
        place += 8 + size + size % 2
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"packets are damaged"):
        read(path)


def test_files_that_are_no_video(tmp_path, render):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video " * 50)
    with pytest.raises(InputError, match=r"notes\.mp4: not a video"):
        read(text)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(InputError, match=r"empty\.mp4: the file is empty"):
        read(empty)
    with pytest.raises(InputError, match=r"gone\.mp4: no such file"):
        read(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="a folder, expected a video file"):
        read(tmp_path)


def test_sound_alone_and_cover_pictures_are_refused(tmp_path):
    import av

    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    with pytest.raises(InputError, match=r"sound\.wav: no video in it, only sound"):
        read(sound)

    cover = tmp_path / "cover.mp3"
    # an ID3 tag with a PNG in it, before silent MPEG audio frames
    picture_file = tmp_path / "cover.png"
    with av.open(str(picture_file), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.height = stream.width = 16
        stream.pix_fmt = "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    body = b"\x00image/png\x00\x03\x00" + picture_file.read_bytes()
    frame_bytes = b"APIC" + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    size = len(frame_bytes)
    syncsafe = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    silence = (b"\xff\xfb\x90\xc4" + bytes(413)) * 40
    cover.write_bytes(b"ID3\x03\x00\x00" + syncsafe + frame_bytes + silence)
    with pytest.raises(InputError, match=r"cover\.mp3: no video in it, only a cover picture"):
        read(cover)


def test_a_name_is_never_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a").write_text("x" * 100)
    with pytest.raises(InputError, match="not a video"):
        read("concat:a")


def test_an_address_that_does_not_answer_is_one_line():
    with pytest.raises(InputError, match=r"tcp://127.0.0.1:1: no answer: \S"):
        VideoReader("tcp://127.0.0.1:1")


@pytest.mark.parametrize("address", ["rtsp://{}/door", "http://{}/a.mp4", "tcp://{}"])
def test_a_server_that_accepts_and_never_answers(monkeypatch, address):
    monkeypatch.setattr(decode, "URL_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = address.format(f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(InputError, match=rf"{url}: no answer within 0\.3 s$"):
            VideoReader(url)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_stream_that_falls_silent_ends(render, monkeypatch, protocol):
    monkeypatch.setattr(decode, "URL_TIMEOUT", 3.0)
    data = render("clip.ts", 60, options={"g": "10", "bf": "0"}).read_bytes()
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        address = server.getsockname()
        if protocol == "tcp":
            server.listen()
        else:
            server.close()  # the reader takes the port
        over = threading.Event()

        def send():
            if protocol == "tcp":
                connection, _ = server.accept()
                with connection:
                    connection.sendall(data)
                    over.wait(30)  # connected, but silent
                return
            with socket.socket(socket.AF_INET, kind) as sender:
                # again and again until the reader is there
                while not over.wait(0.01):
                    for start in range(0, len(data), 7 * 188):
                        sender.sendto(data[start : start + 7 * 188], address)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            with VideoReader(f"{protocol}://{address[0]}:{address[1]}") as video:
                if protocol == "udp":
                    over.set()
                count = sum(1 for _ in video)
        finally:
            over.set()
            thread.join()
    assert count >= 5
    assert video.report.stopped
    assert f"the data break off after {count} frames" in str(video.report)
