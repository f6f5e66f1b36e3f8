"""Write the seeds that a fuzzer starts from: small valid inputs of every target (findings are added by hand)."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import targets
from safetensors.numpy import save


def seeds() -> dict[str, list[bytes]]:
    """By target, valid and half-valid inputs."""
    return {"readers": readers(), "layouts": layouts(), "typed": typed(), "configs": configs(), "tables": tables()} | {
        "recordings": recordings(),
        "archives": archives(),
        "tensors": [save({"a": np.zeros((2, 3), np.float32), "b": np.ones(2, np.int64)})],
    }


def readers() -> list[bytes]:
    esc = b"filename,fold,target,category,esc10,src_file,take\n"
    esc += b"1-1-A-0.wav,1,0,dog,True,1,A\n2-2-A-0.wav,2,1,cat,True,2,A\n"
    bom = b"\xef\xbb\xbffname;label;manually_verified\r\na.wav;Bell;yes\r\nb.wav;Drum;no\r\n"
    many = b'fname,label,manually_verified\na.wav,"Bell,Drum",1\nb.wav,Drum,0\n'
    scores = b"fname,label,usage\nt.wav,Bell,Public\nu.wav,Drum,Private\n"
    return [b"\0" + targets.TRAIN, b"\0" + bom, b"\1" + targets.SAMPLE, b"\2" + scores, b"\3" + esc, b"\4" + many]


def layouts() -> list[bytes]:
    urban = b"slice_file_name,fsID,start,end,salience,fold,classID,class\n"
    urban += b"1-0-0-0.wav,1,0.0,4.0,1,1,0,drill\n2-0-0-0.wav,2,9.5,13.5,2,2,0,siren\n"
    fsd = b'fname,labels,mids,split\n64760,"Bell,Drum",/m/1,train\n64761,Drum,/m/2,val\n'
    meta = b"filename\tscene_label\tidentifier\tsource_label\naudio/a.wav\tpark\tx-1\ta\naudio/b.wav\ttram\tx-2\ta\n"
    times = b"recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max\na,3,1,0.5,100,1.5,900\nb,4,1,2.5,100,3,900\n"
    lines = b'{"file_name": "a.wav", "label": "x"}\n{"file_name": "test/b.wav", "label": 7, "more": [1]}\n'
    own = b"file,species,speaker,start,end,fold,x\na,owl,p,0,1,1,0.5\na,owl;wren,p,1,2,2,0.7\nb,wren,q,0,1,1,1.5\n"
    contents = [
        *(urban, fsd, b"0,Bell,/m/1\n1,Drum,/m/2\n", meta, b"rec_id,[labels]\n0,1,0\n1\n2,?\n", times),
        *(b"file_name,label\na.wav,x\ntest/b.wav,\nvalidation/c.wav,y\n", lines, own),
    ]
    return [bytes([way]) + content for way, content in enumerate(contents)]


def typed() -> list[bytes]:
    return [
        b"data=fsdkaggle2018\nmodel=vgg_small\nfold=0..4\npreset=smoke",
        b"training.lr=0.01\nnetwork.channels=[8,16]\naudio.bad_files=skip\nmetric=map@3",
        b"clean.settings.agree.keep=0.5\ntask=classify\nseed=3\nroot=/tmp\nname=x",
    ]


def configs() -> list[bytes]:
    models = targets.config.CONFIGS
    data, model, preset = (models / p for p in ("data/demo.yaml", "model/vgg_small.yaml", "preset/smoke.yaml"))
    return [b"\0" + data.read_bytes(), b"\1" + model.read_bytes(), b"\2" + preset.read_bytes(), b"\1a: &a [1]\nb: *a"]


def tables() -> list[bytes]:
    rows = pd.DataFrame({"clip_id": ["a.wav", "b.wav", "t.wav"], "part": ["oof", "oof", "test"]})
    rows = rows.assign(Bell=0.2, Drum=0.5, Hiss=0.3)
    array = io.BytesIO()
    np.save(array, np.full((2, 1), 0.5, np.float32))
    yaml = b"{oof: o.npy, oof_ids: i.txt, classes: [Bell, Drum, Hiss]}"
    receipt = b'{"kind": "train", "fold": 0, "checksums": {"fold0.parquet": "00"}}'
    made = b"fname,label\nt.wav,Bell Drum Hiss\n"
    parts = [
        rows.to_csv(index=False).encode(),
        rows.to_parquet(None, index=False),
        receipt,
        yaml,
        array.getvalue(),
        made,
    ]
    return [bytes([way]) + part for way, part in enumerate(parts)]


def recordings() -> list[bytes]:
    made = []
    for form, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("AIFF", "PCM_24"),
    ):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.sin(np.arange(400) / 9), 8000, subtype, format=form)
        made.append(buffer.getvalue())
    return made


def archives() -> list[bytes]:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a/b.csv"), "x" * 50)
        archive.writestr(zipfile.ZipInfo("../c.csv"), "y")
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        member = tarfile.TarInfo("a/b.csv")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    return [zipped.getvalue(), tarred.getvalue().rstrip(b"\0") + bytes(1024)]


if __name__ == "__main__":
    for name, contents in seeds().items():
        for number, content in enumerate(contents):
            path = Path(targets.SEEDS / name / f"{number:02d}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
