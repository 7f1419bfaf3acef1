{
  const hero = document.querySelector(".hero");
  const [input, train, epoch, said] = ["input", "button", "output", "[role=status]"].map((s) => hero.querySelector(s));
  const ties = [...hero.querySelectorAll(".ties")];
  let playing = 0;
  const show = (chosen) => {
    input.value = chosen;
    epoch.textContent = ties[chosen].dataset.epoch;
    said.textContent = ties[chosen].dataset.said;
    ties.forEach((group, k) => group.classList.toggle("shown", k === chosen));
  };
  const stop = () => clearInterval(playing);
  input.max = ties.length - 1;
  input.addEventListener("input", () => {
    stop();
    show(+input.value);
  });
  train.addEventListener("click", () => {
    stop();
    show(0);
    playing = setInterval(() => (+input.value < ties.length - 1 ? show(+input.value + 1) : stop()), 900);
  });
  show(ties.length - 1);
}
