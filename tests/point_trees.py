"""Small JHMDB, BADJA and TAP-Vid in their documented layouts, made from synthetic video; loaded by the tests that need them."""

import io
import json
import pickle

import numpy as np
from PIL import Image
from scipy.io import savemat

from followspot.datasets.badja import JOINTS as ANIMAL
from followspot.datasets.synthetic import SyntheticVideo
from followspot.io.masks import write_mask

FRAMES, SIZE = 8, (48, 64)


def video(seed, *, points=15, frames=FRAMES):
    return SyntheticVideo(seed, num_frames=frames, height=SIZE[0], width=SIZE[1], objects=1, points_per_object=points)


def positions(source):
    """(T, P, 2) in pixels, and (T, P) whether visible."""
    found = [source.points(index) for index in range(len(source))]
    return np.stack([xy for xy, _ in found]), np.stack([seen for _, seen in found])


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


CLIPS = ("brush_hair/one", "jump/two (1)!")


def jhmdb(root):
    """Two clips with lists of both kinds; returns their true joints."""
    truth = {}
    for seed, name in enumerate(CLIPS):
        source = video(seed)
        truth[name], _ = positions(source)
        for index in range(FRAMES):
            save(root / "Rename_Images" / name / f"{index + 1:05d}.png", source.frame(index))
        mat = root / "joint_positions" / name / "joint_positions.mat"
        mat.parent.mkdir(parents=True)
        savemat(mat, {"pos_img": truth[name].transpose(2, 1, 0) + 1, "viewpoint": "N"})
        (root / "splits").mkdir(exist_ok=True)
        action, clip = name.split("/")
        (root / "splits" / f"{action}_test_split1.txt").write_text(f"other clip.avi 1\n{clip}.avi 2\n")
    return truth


def badja_ours(root, names=("bear", "dog")):
    """Our layout: frames 2, 4 and 7 are annotated."""
    truth = {}
    for seed, name in enumerate(names):
        source = video(seed, points=20)
        truth[name], _ = positions(source)
        for index in range(FRAMES):
            save(root / f"davis/JPEGImages/480p/{name}/{index:05d}.png", source.frame(index))
            write_mask(root / f"davis/Annotations/480p/{name}/{index:05d}.png", np.maximum(source.masks(index), 0))
        xy = truth[name][[2, 4, 7]]
        visible = np.ones(xy.shape[:2], int)
        visible[1, 3] = visible[0, 5] = 0
        document = {
            "sequence": name,
            "resolution": [SIZE[1], SIZE[0]],
            "joint_names": list(ANIMAL),
            "frames": [2, 4, 7],
            "xy": [[point if seen else None for point, seen in zip(*row, strict=True)] for row in zip(xy.tolist(), visible, strict=True)],
            "visible": visible.tolist(),
        }
        path = root / "keypoints" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
    return truth


def badja_official(root):
    """The official layout with one public sequence, and one whose frames are withheld; entries are out of order."""
    source = video(3, points=37)
    truth, _ = positions(source)
    entries = []
    for index in (6, 1, 3):
        image, mask = (
            f"DAVIS/{kind}/Full-Resolution/cow/{index:05d}.{end}" for kind, end in (("JPEGImages", "jpg"), ("Annotations", "png"))
        )
        write_mask(root / mask, source.masks(index))
        joints = np.round(truth[index][:, ::-1]).astype(int)
        entries.append({"image_path": image, "segmentation_path": mask, "joints": joints.tolist(), "visibility": [True] * 37})
    entries[0]["visibility"][8] = False
    for index in range(FRAMES):
        save(root / f"DAVIS/JPEGImages/Full-Resolution/cow/{index:05d}.jpg", source.frame(index))
    (root / "joint_annotations").mkdir()
    (root / "joint_annotations/cow.json").write_text(json.dumps(entries))
    (root / "joint_annotations/tiger.json").write_text(json.dumps([{**entries[0], "image_path": "extra_videos/tiger/1.jpg"}]))
    return np.round(truth)


def tapvid_entry(seed, *, jpeg=False, points=6):
    source = video(seed, points=points)
    xy, seen = positions(source)
    frames = np.stack([frame.image for frame in source])
    occluded = ~seen.T
    occluded[0, :3] = True
    occluded[1, 4] = True
    occluded[2] = True
    shares = (xy.transpose(1, 0, 2) + 0.5) / (SIZE[1], SIZE[0])
    return {"video": [as_jpeg(frame) for frame in frames] if jpeg else frames, "points": shares.astype(np.float32), "occluded": occluded}


def as_jpeg(frame):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=95)
    return file.getvalue()


def tapvid(path):
    """A dict of two videos, one of them as JPEG files."""
    entries = {"goat": tapvid_entry(5), "car": tapvid_entry(6, jpeg=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(entries))
    return entries
